package audit_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/audit"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func parse(t *testing.T, text string) *audit.Inventory {
	t.Helper()
	inv, err := audit.Parse("h.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

// made is a made-up network: the answer of each port.
type made func(addr netip.Addr, port uint16) scope.Cause

func (m made) dial(ctx context.Context, t scope.Target, port uint16, timeout time.Duration) (netip.AddrPort, error) {
	wait, cause := time.Millisecond, m(t.Addr(), port)
	if cause == scope.TimedOut {
		wait = timeout
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		cause = scope.Canceled
	}
	if cause == "" {
		return netip.AddrPort{}, nil
	}
	return netip.AddrPort{}, &scope.Failure{Cause: cause, Err: errors.New("made up")}
}

// names resolves from a table.
type names map[string][]string

func (n names) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answers, ok := n[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	var out []netip.Addr
	for _, a := range answers {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// brief is a record as far as most tests look.
func brief(r record.Record) string {
	s := fmt.Sprintf("%s %v %v %s %s", r.Host, r.Address, r.Key(), r.State, r.Evidence)
	if r.Finding != record.None {
		s += " " + string(r.Finding) + "/" + string(r.Severity)
	}
	return s
}

func briefs(run record.Run) []string {
	var out []string
	for _, r := range run.Records {
		out = append(out, brief(r))
	}
	return out
}

// inBubble runs an audit in made-up time.
func inBubble(t *testing.T, inv *audit.Inventory, o audit.Options, m made, check func(t *testing.T, run record.Run)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run, err := audit.Run(t.Context(), inv, audit.WithDial(o, m.dial))
		if err != nil {
			t.Fatal(err)
		}
		check(t, run)
	})
}

const three = `version: 1
allow: [10.0.0.0/24]
defaults: {ports: {tcp: 1-100}}
hosts:
- name: a
  address: 10.0.0.1
  owner: ops
  expect:
  - {port: 22/tcp, service: ssh, reason: "we log in"}
  - {port: 80/tcp, expires: 1999-12-31}
  - {port: 81/tcp, expires: 2000-01-01}
  - {port: 99/tcp, expires: 1999-12-31}
  - {port: 443/tcp}
  - {port: 8080/tcp, from: loopback}
- name: b
  addresses: [10.0.0.3, 10.0.0.2]
  expect:
  - {port: 25/tcp}
`

// The clock of a bubble begins at midnight UTC of 2000-01-01.
func TestRun(t *testing.T) {
	inBubble(t, parse(t, three), audit.Options{}, func(addr netip.Addr, port uint16) scope.Cause {
		switch {
		case port == 22, port == 80, port == 81, port == 8080, port == 23 && addr.String() == "10.0.0.2", port == 25 && addr.String() == "10.0.0.2":
			return ""
		case port == 7:
			return scope.TimedOut
		}
		return scope.Refused
	}, func(t *testing.T, run record.Run) {
		want := []string{
			"a 10.0.0.1 22/tcp open syn-ack",
			"a 10.0.0.1 80/tcp open syn-ack expired/medium",
			"a 10.0.0.1 81/tcp open syn-ack",
			"a 10.0.0.1 99/tcp closed reset",
			"a 10.0.0.1 443/tcp closed reset missing/medium",
			"a 10.0.0.1 8080/tcp open syn-ack unexpected/medium",
			"b 10.0.0.2 22/tcp open syn-ack unexpected/medium",
			"b 10.0.0.2 23/tcp open syn-ack unexpected/high",
			"b 10.0.0.2 25/tcp open syn-ack",
			"b 10.0.0.2 80/tcp open syn-ack unexpected/medium",
			"b 10.0.0.2 81/tcp open syn-ack unexpected/medium",
			"b 10.0.0.3 22/tcp open syn-ack unexpected/medium",
			"b 10.0.0.3 25/tcp closed reset missing/medium",
			"b 10.0.0.3 80/tcp open syn-ack unexpected/medium",
			"b 10.0.0.3 81/tcp open syn-ack unexpected/medium",
		}
		if d := cmp.Diff(want, briefs(run)); d != "" {
			t.Error(d)
		}
		first := run.Records[0]
		if first.Owner != "ops" || first.Service != "ssh" || first.Reason != "we log in" || first.Advice != "" {
			t.Errorf("%+v", first)
		}
		for _, r := range run.Records {
			if (r.Advice != "") != (r.Finding != record.None) {
				t.Errorf("%s has the advice %q", brief(r), r.Advice)
			}
		}
		i := run.Info
		if !i.Complete || i.Interrupted || i.Findings != 11 || i.Hosts != 2 || i.Addresses != 3 || i.Planned != 302 || i.Probed != 302 || len(i.Incomplete) != 0 || len(i.Notes) != 0 {
			t.Errorf("%+v", i)
		}
		states := map[record.State]int{record.Open: 8, record.Closed: 190, record.Filtered: 2}
		if d := cmp.Diff(states, run.Hosts[1].States); d != "" {
			t.Error(d)
		}
		if h := run.Hosts[1]; h.Status != record.Done || len(h.Addresses) != 2 || !h.Addresses[0].Answered || h.Addresses[0].States[record.Closed] != 96 {
			t.Errorf("%+v", h)
		}
	})
}

func TestRunNarrowed(t *testing.T) {
	inv := parse(t, three)
	ports, err := record.ParsePorts("20-30")
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, inv, audit.Options{Hosts: []string{"A"}, Ports: &ports}, func(addr netip.Addr, port uint16) scope.Cause {
		if addr.String() != "10.0.0.1" || port < 20 || port > 30 {
			t.Errorf("%v port %d is contacted", addr, port)
		}
		return scope.Refused
	}, func(t *testing.T, run record.Run) {
		if d := cmp.Diff([]string{"a 10.0.0.1 22/tcp closed reset missing/medium"}, briefs(run)); d != "" {
			t.Error(d)
		}
		if i := run.Info; !i.Complete || len(i.Notes) != 1 || !strings.HasPrefix(i.Notes[0], "5 expected ports lie outside") {
			t.Errorf("%+v", i)
		}
	})
	for name, o := range map[string]audit.Options{
		"no host \"c\"": {Hosts: []string{"a", "c"}},
		"not in this":   {Method: "syn"},
		"host rate":     {HostRate: -1},
		"rate":          {Rate: 1e9},
		"time limit":    {MaxTime: -1},
		"is empty":      {Ports: &record.Ports{}},
	} {
		var u *audit.UsageError
		if _, err := audit.Run(t.Context(), inv, o); !errors.As(err, &u) || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", o, err)
		}
		if _, err := audit.NewPlan(inv, o); !errors.As(err, &u) {
			t.Errorf("plan of %+v: %v", o, err)
		}
	}
}

const named = `version: 1
allow: [10.0.0.0/24, 'fd00::/64']
defaults: {ports: {tcp: 1-10}}
hosts:
- name: good
  address: good.example
- name: half
  addresses: [10.0.0.9, half.example]
  expect: [{port: 5/tcp}]
- name: gone
  address: gone.example
`

// A name with one answer outside refuses its host, and no other.
func TestRunRefusesNames(t *testing.T) {
	dns := names{"good.example": {"10.0.0.1", "fd00::1"}, "half.example": {"10.0.0.2", "8.8.8.8"}}
	inBubble(t, parse(t, named), audit.Options{Resolver: dns}, func(addr netip.Addr, port uint16) scope.Cause {
		if a := addr.String(); a != "10.0.0.1" && a != "fd00::1" {
			t.Errorf("%v is contacted", addr)
		}
		return scope.Refused
	}, func(t *testing.T, run record.Run) {
		if d := cmp.Diff([]string{"half invalid IP 5/tcp unknown not-probed"}, briefs(run)); d != "" {
			t.Error(d)
		}
		want := []string{
			"host half: half.example is 8.8.8.8: outside the allowlist",
			"host gone: resolve gone.example: no such host",
		}
		if d := cmp.Diff(want, run.Info.Incomplete); d != "" {
			t.Error(d)
		}
		var got []string
		for _, h := range run.Hosts {
			got = append(got, fmt.Sprintf("%s %s %d", h.Host, h.Status, len(h.Addresses)))
		}
		if d := cmp.Diff([]string{"good done 2", "half refused 0", "gone refused 0"}, got); d != "" {
			t.Error(d)
		}
		if run.Info.Complete || run.Info.Interrupted || run.Info.Planned != 40 || run.Info.Probed != 20 {
			t.Errorf("%+v", run.Info)
		}
	})
}

// Two hosts that are one address once resolved are a fault of the inventory,
// and nothing is contacted.
func TestRunOverlapAfterResolution(t *testing.T) {
	dns := names{"good.example": {"10.0.0.9"}, "half.example": {"10.0.0.2"}, "gone.example": {"10.0.0.2"}}
	var contacted atomic.Bool
	dial := made(func(netip.Addr, uint16) scope.Cause { contacted.Store(true); return scope.Refused }).dial
	_, err := audit.Run(t.Context(), parse(t, named), audit.WithDial(audit.Options{Resolver: dns}, dial))
	var inv *audit.InventoryError
	if !errors.As(err, &inv) {
		t.Fatalf("%v", err)
	}
	want := "h.yaml:7:3: host half overlaps host good: both are 10.0.0.9 once resolved, the other in line 5\n" +
		"h.yaml:10:3: host gone overlaps host half: both are 10.0.0.2 once resolved, the other in line 7"
	if d := cmp.Diff(want, err.Error()); d != "" {
		t.Error(d)
	}
	if contacted.Load() {
		t.Error("something was contacted")
	}
	// Only the hosts that are asked for can overlap.
	if _, err := audit.Run(t.Context(), parse(t, named), audit.WithDial(audit.Options{Resolver: dns, Hosts: []string{"gone"}}, dial)); err != nil {
		t.Error(err)
	}
}

func TestRunSilence(t *testing.T) {
	text := `version: 1
allow: [10.0.0.0/24]
defaults: {ports: {tcp: 1-10}}
hosts:
- {name: off, addresses: [10.0.0.1, 10.0.0.2]}
- {name: may, address: 10.0.0.3, silent: ok}
- {name: one, address: 10.0.0.4}
`
	inBubble(t, parse(t, text), audit.Options{}, func(addr netip.Addr, port uint16) scope.Cause {
		if a := addr.String(); a == "10.0.0.1" || a == "10.0.0.4" && port == 3 {
			return scope.Refused
		}
		return scope.TimedOut
	}, func(t *testing.T, run record.Run) {
		if d := cmp.Diff([]string{"host off: 10.0.0.2 answered nothing at all (if it may, say silent: ok)"}, run.Info.Incomplete); d != "" {
			t.Error(d)
		}
		var got []record.Status
		for _, h := range run.Hosts {
			got = append(got, h.Status)
		}
		if d := cmp.Diff([]record.Status{record.Silent, record.Quiet, record.Done}, got); d != "" {
			t.Error(d)
		}
		if a := run.Hosts[0].Addresses; !a[0].Answered || a[1].Answered {
			t.Errorf("%+v", a)
		}
	})
}

// Failures of ours make ports unknown and the run incomplete; the list of them
// stays short, the count does not.
func TestRunLocalFailure(t *testing.T) {
	text := `version: 1
allow: [10.0.0.0/24]
hosts:
- {name: a, address: 10.0.0.1, expect: [{port: 60000/tcp}]}
- {name: b, address: 10.0.0.2, ports: {tcp: 1-5}}
`
	inBubble(t, parse(t, text), audit.Options{}, func(addr netip.Addr, port uint16) scope.Cause {
		if addr.String() == "10.0.0.1" {
			return scope.NoRoute
		}
		return scope.Refused
	}, func(t *testing.T, run record.Run) {
		a := run.Hosts[0]
		if a.Status != record.Partial || a.States[record.Unknown] != 65535 || a.Addresses[0].Unlisted != 65535-len(run.Records) {
			t.Errorf("%+v with %d records", a, len(run.Records))
		}
		if d := cmp.Diff([]string{"a 10.0.0.1 60000/tcp unknown local-failure"}, briefs(run)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"65534 unknown ports are counted, but not listed"}, run.Info.Notes); d != "" {
			t.Error(d)
		}
		want := []string{"host a: 65535 ports of 10.0.0.1 failed on this side: no route: made up"}
		if d := cmp.Diff(want, run.Info.Incomplete); d != "" {
			t.Error(d)
		}
		if run.Info.Probed != 5 || run.Hosts[1].Status != record.Done {
			t.Errorf("%+v", run.Info)
		}
	})
}

// UDP is not probed yet, and a run that was asked about it says so.
func TestRunUDP(t *testing.T) {
	text := `version: 1
allow: [10.0.0.0/24]
defaults: {ports: {tcp: 1-5, udp: [53, 123]}}
hosts:
- name: a
  address: 10.0.0.1
  expect: [{port: 161/udp, service: snmp}]
`
	dial := made(func(netip.Addr, uint16) scope.Cause { return scope.Refused })
	inBubble(t, parse(t, text), audit.Options{}, dial, func(t *testing.T, run record.Run) {
		want := []string{"a 10.0.0.1 53/udp unknown not-probed", "a 10.0.0.1 123/udp unknown not-probed", "a 10.0.0.1 161/udp unknown not-probed"}
		if d := cmp.Diff(want, briefs(run)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"3 UDP ports were not probed: this version probes TCP only"}, run.Info.Incomplete); d != "" {
			t.Error(d)
		}
		if run.Info.Complete || run.Info.Planned != 8 || run.Info.Probed != 5 || run.Hosts[0].Status != record.Partial {
			t.Errorf("%+v, %+v", run.Info, run.Hosts[0])
		}
	})
	tcp, err := record.ParsePorts("1-5")
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, parse(t, text), audit.Options{Ports: &tcp}, dial, func(t *testing.T, run record.Run) {
		if !run.Info.Complete || len(run.Records) != 0 {
			t.Errorf("%+v", run)
		}
	})
}

// A run that is cut short has looked at the expected ports, wherever they lie, if
// there was time for them.
func TestRunStopped(t *testing.T) {
	text := `version: 1
allow: [10.0.0.0/24]
hosts:
- {name: a, address: 10.0.0.1, expect: [{port: 1/tcp}, {port: 60000/tcp}]}
`
	dial := made(func(netip.Addr, uint16) scope.Cause { return scope.Refused })
	for name, c := range map[string]struct {
		opts        audit.Options
		cancel      time.Duration
		want        string
		interrupted bool
	}{
		"interrupted": {audit.Options{Rate: 10}, 2 * time.Second, "interrupted: 655", true},
		"out of time": {audit.Options{Rate: 10, MaxTime: 2 * time.Second}, time.Hour, "the time limit of 2s ran out: 655", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				stop := time.AfterFunc(c.cancel, cancel)
				defer stop.Stop()
				run, err := audit.Run(ctx, parse(t, text), audit.WithDial(c.opts, dial.dial))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff([]string{"a 10.0.0.1 1/tcp closed reset missing/medium", "a 10.0.0.1 60000/tcp closed reset missing/medium"}, briefs(run)); d != "" {
					t.Error(d)
				}
				i := run.Info
				if i.Complete || i.Interrupted != c.interrupted || len(i.Incomplete) != 1 || !strings.HasPrefix(i.Incomplete[0], c.want) {
					t.Errorf("%+v", i)
				}
				s := run.Hosts[0].States
				if s[record.Unknown]+s[record.Closed] != 65535 || s[record.Closed] != i.Probed || run.Hosts[0].Status != record.Partial {
					t.Errorf("%v, %+v", s, i)
				}
				if d := i.Duration(); d < 2*time.Second || d > 3*time.Second {
					t.Errorf("took %v", d)
				}
			})
		})
	}
	t.Run("before all that is expected", func(t *testing.T) {
		o := audit.Options{Rate: 1, MaxTime: 1500 * time.Millisecond}
		inBubble(t, parse(t, strings.Replace(text, "{port: 1/tcp}", "{port: 1/tcp}, {port: 2/tcp}, {port: 3/udp}", 1)), o, func(netip.Addr, uint16) scope.Cause { return scope.Refused }, func(t *testing.T, run record.Run) {
			want := []string{
				"a 10.0.0.1 1/tcp closed reset missing/medium",
				"a 10.0.0.1 2/tcp closed reset missing/medium",
				"a 10.0.0.1 60000/tcp unknown not-probed",
				"a 10.0.0.1 3/udp unknown not-probed",
			}
			if d := cmp.Diff(want, briefs(run)); d != "" {
				t.Error(d)
			}
		})
	})
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		run, err := audit.Run(ctx, parse(t, named), audit.WithDial(audit.Options{Resolver: names{}}, dial.dial))
		if err != nil || run.Info.Complete || !run.Info.Interrupted || run.Info.Probed != 0 {
			t.Errorf("%v, %+v", err, run.Info)
		}
	})
}

func TestRunNotesPublic(t *testing.T) {
	text := "version: 1\nallow: [203.0.113.0/24, 8.8.8.0/24]\nhosts: [{name: a, address: 8.8.8.8, ports: {tcp: 53}}]\n"
	inBubble(t, parse(t, text), audit.Options{}, func(netip.Addr, uint16) scope.Cause { return scope.Refused }, func(t *testing.T, run record.Run) {
		if n := run.Info.Notes; len(n) != 1 || !strings.Contains(n[0], "public addresses (8.8.8.0/24)") || !run.Info.Complete {
			t.Errorf("%+v", run.Info)
		}
	})
}

// The real thing, on loopback: one listener that is expected, one that is not,
// one that is missed.
func TestRunLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			var ports []uint16
			for i := range 3 {
				l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
				if err != nil {
					t.Skipf("needs the address %s on this machine: %v", host, err)
				}
				ports = append(ports, uint16(l.Addr().(*net.TCPAddr).Port))
				if i == 2 {
					l.Close()
				} else {
					defer l.Close()
				}
			}
			inv := parse(t, fmt.Sprintf("version: 1\nallow: ['%s']\nhosts:\n- name: here\n  address: '%s'\n  ports: {tcp: [%d, %d, %d]}\n  expect: [{port: %d/tcp}, {port: %d/tcp}]\n",
				host, host, ports[0], ports[1], ports[2], ports[0], ports[2]))
			var last audit.Progress
			run, err := audit.Run(t.Context(), inv, audit.Options{Progress: func(p audit.Progress) { last = p }})
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[uint16]record.Finding)
			for _, r := range run.Records {
				got[r.Port] = r.Finding
			}
			want := map[uint16]record.Finding{ports[0]: record.None, ports[1]: record.Unexpected, ports[2]: record.Missing}
			if d := cmp.Diff(want, got); d != "" || !run.Info.Complete {
				t.Errorf("%s\n%+v", d, run.Info)
			}
			if last != (audit.Progress{Done: 3, Total: 3, Open: 2}) {
				t.Errorf("progress ends with %+v", last)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	p, err := audit.NewPlan(parse(t, whole), audit.Options{Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	// 1025 ports of a name, 12 of three addresses, 1 of one.
	if p.Ports != 1025+3*12+1 || p.UDP != 1+3*102+1 || p.Addresses != 4 || p.Names != 1 || len(p.Hosts) != 3 {
		t.Errorf("%+v", p)
	}
	if want := time.Duration(2*1062)*time.Second/100 + 3*time.Second; p.WorstCase != want {
		t.Errorf("worst case %v, want %v", p.WorstCase, want)
	}
	if len(p.Notes) != 2 {
		t.Errorf("%q", p.Notes)
	}
	short, err := audit.NewPlan(parse(t, whole), audit.Options{Rate: 100, MaxTime: time.Second})
	if err != nil || short.WorstCase != time.Second {
		t.Errorf("%v, %v", short.WorstCase, err)
	}
}

// policy is tested through Run for what comes from a probe; here is who may
// reach what.
func TestFromReach(t *testing.T) {
	text := `version: 1
allow: [127.0.0.0/8, 10.0.0.0/24, 8.8.8.0/24]
defaults: {ports: {tcp: 1}}
hosts:
- {name: lo, address: 127.0.0.1, expect: [{port: 1/tcp, from: loopback}, {port: 2/tcp, from: private}, {port: 3/tcp, from: any}, {port: 4/tcp, from: loopback}]}
- {name: pr, address: 10.0.0.1, expect: [{port: 1/tcp, from: loopback}, {port: 2/tcp, from: private}, {port: 3/tcp, from: any}, {port: 4/tcp, from: loopback}]}
- {name: pu, address: 8.8.8.8, expect: [{port: 1/tcp, from: loopback}, {port: 2/tcp, from: private}, {port: 3/tcp, from: any}, {port: 4/tcp, from: private}]}
`
	inBubble(t, parse(t, text), audit.Options{}, func(_ netip.Addr, port uint16) scope.Cause {
		if port == 4 {
			return scope.Refused
		}
		return ""
	}, func(t *testing.T, run record.Run) {
		var got []string
		for _, r := range run.Findings() {
			got = append(got, fmt.Sprintf("%s %d %s", r.Host, r.Port, r.Finding))
		}
		want := []string{"lo 4 missing", "pr 1 unexpected", "pu 1 unexpected", "pu 2 unexpected"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if a := run.Findings()[1].Advice; !strings.HasPrefix(a, "it is expected from loopback only, and 10.0.0.1 is a private address") {
			t.Errorf("%q", a)
		}
	})
}
