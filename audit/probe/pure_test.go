package probe_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern.example/audit/probe"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClassify(t *testing.T) {
	target, router := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.254")
	target6 := netip.MustParseAddr("fd00::1")
	fail := func(c scope.Cause) error { return &scope.Failure{Cause: c, Err: errors.New("an\x1b error")} }
	icmp := func(c scope.Cause, kind, code uint8, from netip.Addr) error {
		return &scope.Failure{Cause: c, Err: errors.New("error"), ICMP: &scope.ICMP{V6: from.Is6(), Type: kind, Code: code, From: from}}
	}
	ours := func(b probe.Blame) probe.Outcome {
		return probe.Outcome{Kind: probe.Ours, State: record.Unknown, Evidence: record.LocalFailure, Blame: b}
	}
	filtered := func(k probe.Kind, e record.Evidence, answered bool) probe.Outcome {
		return probe.Outcome{Kind: k, State: record.Filtered, Evidence: e, Answered: answered}
	}
	for name, c := range map[string]struct {
		target netip.Addr
		err    error
		want   probe.Outcome
	}{
		"connected":                  {target, nil, probe.Outcome{State: record.Open, Evidence: record.SynAck, Answered: true}},
		"reset":                      {target, fail(scope.Refused), probe.Outcome{State: record.Closed, Evidence: record.Reset, Answered: true}},
		"silence":                    {target, fail(scope.TimedOut), filtered(probe.Silent, record.NoResponse, false)},
		"blind unreachable":          {target, fail(scope.Unreachable), filtered(probe.Silent, record.HostUnreachable, false)},
		"firewall on the target":     {target, icmp(scope.Refused, 3, 3, target), filtered(probe.Evident, record.PortUnreachable, true)},
		"firewall before the target": {target, icmp(scope.Refused, 3, 3, router), filtered(probe.Evident, record.PortUnreachable, false)},
		"admin-prohibited":           {target, icmp(scope.Unreachable, 3, 13, router), filtered(probe.Evident, record.AdminProhibited, false)},
		"net-prohibited":             {target, icmp(scope.Unreachable, 3, 9, router), filtered(probe.Evident, record.AdminProhibited, false)},
		"host-prohibited":            {target, icmp(scope.Unreachable, 3, 10, target), filtered(probe.Evident, record.AdminProhibited, true)},
		"no protocol":                {target, icmp(scope.Unreachable, 3, 2, target), filtered(probe.Evident, record.ProtoUnreachable, true)},
		"no net":                     {target, icmp(scope.Unreachable, 3, 0, router), filtered(probe.Silent, record.NetUnreachable, false)},
		"no host":                    {target, icmp(scope.Unreachable, 3, 1, router), filtered(probe.Silent, record.HostUnreachable, false)},
		"loop":                       {target, icmp(scope.Unreachable, 11, 0, router), filtered(probe.Silent, record.TimeExceeded, false)},
		"unknown message":            {target, icmp(scope.Unreachable, 3, 200, router), filtered(probe.Silent, record.HostUnreachable, false)},
		"port-unreachable, IPv6":     {target6, icmp(scope.Refused, 1, 4, target6), filtered(probe.Evident, record.PortUnreachable, true)},
		"admin-prohibited, IPv6":     {target6, icmp(scope.Unreachable, 1, 1, target6), filtered(probe.Evident, record.AdminProhibited, true)},
		"reject route, IPv6":         {target6, icmp(scope.Unreachable, 1, 6, target6), filtered(probe.Evident, record.AdminProhibited, true)},
		"no route, IPv6":             {target6, icmp(scope.Unreachable, 1, 0, target6), filtered(probe.Silent, record.NetUnreachable, false)},
		"address unreachable, IPv6":  {target6, icmp(scope.Unreachable, 1, 3, target6), filtered(probe.Silent, record.HostUnreachable, false)},
		"loop, IPv6":                 {target6, icmp(scope.Unreachable, 3, 0, target6), filtered(probe.Silent, record.TimeExceeded, false)},
		"no next header, IPv6":       {target6, icmp(scope.Unreachable, 4, 1, target6), filtered(probe.Evident, record.ProtoUnreachable, true)},
		"our own table":              {target, fail(scope.NoRoute), ours(probe.Address)},
		"no source address":          {target, fail(scope.NoAddress), ours(probe.Address)},
		"not permitted":              {target, fail(scope.Denied), ours(probe.Address)},
		"our own firewall":           {target, icmp(scope.Denied, 3, 13, router), ours(probe.Rule)},
		"our own firewall, IPv6":     {target6, icmp(scope.Denied, 1, 1, router), ours(probe.Rule)},
		"no descriptors":             {target, fail(scope.Exhausted), ours(probe.Machine)},
		"met itself":                 {target, fail(scope.SelfConnect), ours(probe.Port)},
		"the wall":                   {target, fail(scope.Outside), ours(probe.Wall)},
		"never seen before":          {target, fail(scope.Other), ours(probe.Address)},
		"not even a failure":         {target, errors.New("what"), ours(probe.Address)},
		"stopped":                    {target, fail(scope.Canceled), probe.Outcome{Kind: probe.Canceled}},
	} {
		got := probe.Classify(c.target, c.err)
		if got.Kind == probe.Ours && (got.Detail == "" || got.Detail != record.Clean(got.Detail)) {
			t.Errorf("%s: detail %q", name, got.Detail)
		}
		got.Detail = ""
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestRTT(t *testing.T) {
	var r probe.RTT
	if got := r.Timeout(0); got != time.Second {
		t.Errorf("before a sample: %v", got)
	}
	if got := r.Timeout(1); got != 2*time.Second {
		t.Errorf("the second attempt before a sample: %v", got)
	}
	if got := r.Timeout(99); got != 10*time.Second {
		t.Errorf("the hundredth attempt: %v", got)
	}
	r.Sample(50 * time.Millisecond) // smooth 50, vary 50
	if got := r.Timeout(0); got != 250*time.Millisecond {
		t.Errorf("after 50ms: %v", got)
	}
	r.Sample(130 * time.Millisecond) // error 80: smooth 60, vary 57.5
	if got := r.Timeout(0); got != 290*time.Millisecond {
		t.Errorf("after 130ms: %v", got)
	}
	for range 100 {
		r.Sample(10 * time.Microsecond)
	}
	if got := r.Timeout(0); got != 100*time.Millisecond {
		t.Errorf("a near target: %v", got)
	}
	for range 100 {
		r.Sample(20 * time.Second)
	}
	if got := r.Timeout(0); got != 10*time.Second {
		t.Errorf("a far target: %v", got)
	}
}

func TestWindow(t *testing.T) {
	w := probe.NewWindow(100)
	if w.Size() != 10 {
		t.Errorf("starts at %d", w.Size())
	}
	for range 65 {
		w.Opened()
	}
	if w.Size() != 75 {
		t.Errorf("slow start reached %d", w.Size())
	}
	for range 80 {
		w.Opened()
	}
	if w.Size() != 76 {
		t.Errorf("congestion avoidance reached %d", w.Size())
	}
	for range 100000 {
		w.Opened()
	}
	if w.Size() != 100 {
		t.Errorf("the limit is 100, the window %d", w.Size())
	}
	w.Lost()
	if w.Size() != 50 {
		t.Errorf("a loss left %d", w.Size())
	}
	for range 50 {
		w.Lost()
	}
	if w.Size() != 2 {
		t.Errorf("fifty losses left %d", w.Size())
	}
	if small := probe.NewWindow(3); small.Size() != 3 {
		t.Errorf("a limit of 3 starts at %d", small.Size())
	}
}

func TestPacer(t *testing.T) {
	for _, rate := range []float64{0.5, 1, 7, 100, 1000, 33333} {
		p := probe.NewPacer(rate)
		now := time.Unix(1e9, 0)
		var sent []time.Time
		for range 2000 {
			if at := p.At(); at.After(now) {
				now = at
			}
			p.Take(now)
			sent = append(sent, now)
		}
		for _, span := range []int{1, 10, 100, 1999} {
			for i := 0; i+span < len(sent); i++ {
				d := sent[i+span].Sub(sent[i]).Seconds()
				burst := max(1, rate/100) + 1
				if float64(span+1) > d*rate+burst+1e-6*rate {
					t.Fatalf("rate %v: %d in %vs", rate, span+1, d)
				}
			}
		}
		// And it is not slower than asked for.
		if d := sent[len(sent)-1].Sub(sent[0]).Seconds(); d > 2000/rate*1.001 {
			t.Errorf("rate %v: 2000 took %vs", rate, d)
		}
	}
	var free probe.Pacer
	free.Take(time.Now())
	if free.At().After(time.Now()) {
		t.Error("no rate holds back")
	}
}

func TestWorstCase(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   probe.Config
		ports []int
		want  time.Duration
	}{
		"nothing":            {probe.Config{}, nil, 0},
		"one port":           {probe.Config{InFlight: 10}, []int{1}, 3 * time.Second},
		"one window":         {probe.Config{InFlight: 10}, []int{10}, 3 * time.Second},
		"two rounds":         {probe.Config{InFlight: 100}, []int{11}, 6 * time.Second},
		"shared":             {probe.Config{InFlight: 10}, []int{10, 10, 10}, 9 * time.Second},
		"one at a time":      {probe.Config{InFlight: 1}, []int{5}, 15 * time.Second},
		"a rate":             {probe.Config{InFlight: 100, Rate: 2}, []int{100}, 103 * time.Second},
		"a rate of the host": {probe.Config{InFlight: 100, HostRate: 2}, []int{100, 50}, 103 * time.Second},
	} {
		if got := probe.WorstCase(c.cfg, c.ports); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
