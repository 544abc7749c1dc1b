package probe_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern.example/audit/probe"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// network is a made-up network: what each port does, and what was done to it. It
// runs in a synctest bubble, so its time costs none.
type network struct {
	// answer decides about an attempt; n counts those at this port, from 1.
	answer func(t scope.Target, port uint16, n int) reply
	// descriptors is how many attempts the machine can hold at once; 0 is any.
	descriptors int

	mu       sync.Mutex
	tries    map[netip.AddrPort]int
	inFlight map[netip.Addr]int
	now, max int
	maxHost  int
	log      []event
}

type event struct {
	at      time.Time
	to      netip.AddrPort
	timeout time.Duration
}

type reply struct {
	after time.Duration // 0: 1ms for the target's answers, 1µs for failures of ours
	err   scope.Cause   // "" connects, TimedOut is silence
	local netip.AddrPort
}

func (n *network) dial(ctx context.Context, t scope.Target, port uint16, timeout time.Duration) (netip.AddrPort, error) {
	to := netip.AddrPortFrom(t.Addr(), port)
	n.mu.Lock()
	if n.tries == nil {
		n.tries, n.inFlight = make(map[netip.AddrPort]int), make(map[netip.Addr]int)
	}
	n.tries[to]++
	r := n.answer(t, port, n.tries[to])
	n.log = append(n.log, event{time.Now(), to, timeout})
	if n.descriptors > 0 && n.now >= n.descriptors {
		r = reply{err: scope.Exhausted}
	}
	n.now++
	n.inFlight[t.Addr()]++
	n.max, n.maxHost = max(n.max, n.now), max(n.maxHost, n.inFlight[t.Addr()])
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.now--
		n.inFlight[t.Addr()]--
		n.mu.Unlock()
	}()
	// Never zero: a select on a timer that is already due crashes the race
	// detector inside a bubble (go1.26.8).
	switch {
	case r.after > 0:
	case r.err == "" || r.err == scope.Refused:
		r.after = time.Millisecond
	default:
		r.after = time.Microsecond
	}
	if r.err == scope.TimedOut || r.after > timeout {
		r = reply{after: timeout, err: scope.TimedOut}
	}
	select {
	case <-time.After(r.after):
	case <-ctx.Done():
		return netip.AddrPort{}, &scope.Failure{Cause: scope.Canceled, Err: ctx.Err()}
	}
	if r.err != "" {
		return netip.AddrPort{}, &scope.Failure{Cause: r.err, Err: errors.New("made up")}
	}
	return r.local, nil
}

func targets(t *testing.T, addrs ...string) []scope.Target {
	t.Helper()
	w, err := scope.New(scope.Config{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	var ts []scope.Target
	for _, a := range addrs {
		tg, err := w.Target(netip.MustParseAddr(a))
		if err != nil {
			t.Fatal(err)
		}
		ts = append(ts, tg)
	}
	return ts
}

func ports(first, last uint16) record.PortSet {
	return record.NewPortSet(record.PortRange{First: first, Last: last})
}

// run returns the results by job and port, and fails when a port has two.
func run(t *testing.T, ctx context.Context, cfg probe.Config, jobs []probe.Job) []map[uint16]probe.Result {
	t.Helper()
	got := make([]map[uint16]probe.Result, len(jobs))
	for i := range got {
		got[i] = make(map[uint16]probe.Result)
	}
	probe.Run(ctx, cfg, jobs, func(r probe.Result) {
		if old, twice := got[r.Job][r.Port]; twice {
			t.Errorf("two results for port %d: %v and %v", r.Port, old, r)
		}
		got[r.Job][r.Port] = r
	})
	return got
}

func states(m map[uint16]probe.Result) map[record.State]int {
	n := make(map[record.State]int)
	for _, r := range m {
		n[r.State]++
	}
	return n
}

func TestEveryPortOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
		n := &network{answer: func(tg scope.Target, port uint16, _ int) reply {
			switch {
			case tg == ts[2]:
				return reply{err: scope.TimedOut}
			case port%10 == 0:
				return reply{}
			case port%10 == 1:
				return reply{err: scope.TimedOut}
			}
			return reply{err: scope.Refused}
		}}
		got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 64}, []probe.Job{
			{Host: 0, Target: ts[0], Ports: ports(1, 3000)},
			{Host: 1, Target: ts[1], Ports: record.NewPortSet(record.PortRange{First: 65530, Last: 65535}, record.PortRange{First: 10, Last: 10})},
			{Host: 2, Target: ts[2], Ports: ports(1, 200)},
			{Host: 3, Target: ts[2]},
		})
		if s := states(got[0]); s[record.Open] != 300 || s[record.Filtered] != 300 || s[record.Closed] != 2400 {
			t.Errorf("first target: %v", s)
		}
		if s := states(got[1]); s[record.Open] != 2 || s[record.Filtered] != 1 || s[record.Closed] != 4 {
			t.Errorf("second target: %v", s)
		}
		if s := states(got[2]); s[record.Filtered] != 200 || len(got[3]) != 0 {
			t.Errorf("silent target: %v, no ports: %v", s, got[3])
		}
		for port, r := range got[0] {
			want := probe.Result{Port: port, State: record.Closed, Evidence: record.Reset, Answered: true}
			switch port % 10 {
			case 0:
				want.State, want.Evidence = record.Open, record.SynAck
			case 1:
				want.State, want.Evidence, want.Answered = record.Filtered, record.NoResponse, false
			}
			if r != want {
				t.Fatalf("port %d: %+v", port, r)
			}
		}
		for to, tries := range n.tries {
			if want := 1; to.Addr() == ts[2].Addr() || to.Port()%10 == 1 {
				want = 2
				if tries != want {
					t.Errorf("%v was silent and tried %d times", to, tries)
				}
			} else if tries != want {
				t.Errorf("%v answered and was tried %d times", to, tries)
			}
		}
	})
}

// A silent target gets two attempts at each port, the second twice as long.
func TestSilenceTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1")
		n := &network{answer: func(scope.Target, uint16, int) reply { return reply{err: scope.TimedOut} }}
		began := time.Now()
		jobs := []probe.Job{{Target: ts[0], Ports: ports(1, 5)}}
		run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 64}, jobs)
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("took %v", d)
		}
		for i, e := range n.log {
			if want := time.Second << (i / 5); e.timeout != want {
				t.Errorf("attempt %d waits %v, want %v", i, e.timeout, want)
			}
		}
		if d := probe.WorstCase(probe.Config{InFlight: 64}, []int{5}); d != 3*time.Second {
			t.Errorf("the worst case is said to be %v", d)
		}
	})
}

// The plan's bound holds for a whole silent network.
func TestWorstCaseHolds(t *testing.T) {
	for _, cfg := range []probe.Config{{InFlight: 50}, {InFlight: 1000}, {InFlight: 100, Rate: 40}, {InFlight: 100, HostRate: 25}, {HostInFlight: 3}} {
		synctest.Test(t, func(t *testing.T) {
			ts := targets(t, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
			n := &network{answer: func(scope.Target, uint16, int) reply { return reply{err: scope.TimedOut} }}
			cfg.Dial = n.dial
			var jobs []probe.Job
			var counts []int
			for i, tg := range ts {
				jobs = append(jobs, probe.Job{Host: i, Target: tg, Ports: ports(1, 400)})
				counts = append(counts, 400)
			}
			began := time.Now()
			run(t, t.Context(), cfg, jobs)
			took, bound := time.Since(began), probe.WorstCase(cfg, counts)
			if took > bound+bound/10 || took < bound/3 {
				t.Errorf("%+v: took %v, the worst case is said to be %v", cfg, took, bound)
			}
		})
	}
}

func TestTargetsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
		n := &network{answer: func(scope.Target, uint16, int) reply { return reply{err: scope.Refused} }}
		var jobs []probe.Job
		for i, tg := range ts {
			jobs = append(jobs, probe.Job{Host: i, Target: tg, Ports: ports(1, 100)})
		}
		run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 8}, jobs)
		sent := make(map[netip.Addr]int)
		for _, e := range n.log {
			sent[e.to.Addr()]++
			for _, tg := range ts {
				if ahead := sent[e.to.Addr()] - sent[tg.Addr()]; ahead > 8 {
					t.Fatalf("%v is %d probes ahead of %v", e.to.Addr(), ahead, tg.Addr())
				}
			}
		}
		if n.max > 8 {
			t.Errorf("%d in flight", n.max)
		}
	})
}

// What a job names first goes first, and every port still has its turn.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1", "10.0.0.2")
		n := &network{answer: func(_ scope.Target, port uint16, try int) reply {
			if port == 443 && try == 1 {
				return reply{err: scope.TimedOut}
			}
			return reply{err: scope.Refused}
		}}
		first := record.NewPortSet(record.PortRange{First: 99, Last: 100}, record.PortRange{First: 443, Last: 443}, record.PortRange{First: 50000, Last: 50001})
		got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 1}, []probe.Job{
			{Target: ts[0], Ports: record.NewPortSet(record.PortRange{First: 97, Last: 102}, record.PortRange{First: 400, Last: 450}), First: first},
			{Target: ts[1], Ports: ports(1, 3), First: first},
		})
		order := make(map[netip.Addr][]uint16)
		for _, e := range n.log {
			order[e.to.Addr()] = append(order[e.to.Addr()], e.to.Port())
		}
		// 443 is tried again, before any port that was never tried.
		if d := cmp.Diff([]uint16{99, 100, 443, 443, 97, 98, 101, 102, 400}, order[ts[0].Addr()][:9]); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]uint16{1, 2, 3}, order[ts[1].Addr()]); d != "" {
			t.Error(d)
		}
		if len(got[0]) != 6+51 || len(got[1]) != 3 {
			t.Errorf("%d and %d results", len(got[0]), len(got[1]))
		}
	})
}

func TestHostLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1", "10.0.0.2")
		n := &network{answer: func(scope.Target, uint16, int) reply { return reply{err: scope.Refused, after: 50 * time.Millisecond} }}
		run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 100, HostInFlight: 7}, []probe.Job{
			{Host: 0, Target: ts[0], Ports: ports(1, 300)}, {Host: 1, Target: ts[1], Ports: ports(1, 300)},
		})
		if n.maxHost != 7 || n.max != 14 {
			t.Errorf("%d in flight to one target, %d in all", n.maxHost, n.max)
		}
	})
}

func TestRates(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  probe.Config
		want time.Duration // for 2 hosts, one of them with two addresses, 100 ports each
	}{
		"over all":     {probe.Config{Rate: 50}, 6 * time.Second},
		"for one host": {probe.Config{HostRate: 20}, 10 * time.Second},
		"both":         {probe.Config{Rate: 50, HostRate: 20}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := targets(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
				n := &network{answer: func(scope.Target, uint16, int) reply { return reply{err: scope.Refused} }}
				cfg := c.cfg
				cfg.Dial = n.dial
				began := time.Now()
				run(t, t.Context(), cfg, []probe.Job{
					{Host: 0, Target: ts[0], Ports: ports(1, 100)}, {Host: 0, Target: ts[1], Ports: ports(1, 100)},
					{Host: 1, Target: ts[2], Ports: ports(1, 100)},
				})
				if d := time.Since(began); d < c.want-c.want/50 || d > c.want+c.want/50 {
					t.Errorf("took %v, want %v", d, c.want)
				}
			})
		})
	}
}

// An attempt that is lost is made up for, and on a bad road every open port is
// found: also those that were settled before the road was known to be bad.
func TestLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1")
		rng := rand.New(rand.NewPCG(1, 2))
		n := &network{answer: func(_ scope.Target, port uint16, n int) reply {
			if rng.Float64() < 0.3 {
				return reply{err: scope.TimedOut}
			}
			switch {
			case port%5 == 0:
				return reply{after: 20 * time.Millisecond}
			case port%5 == 1:
				return reply{err: scope.TimedOut}
			}
			return reply{err: scope.Refused, after: 20 * time.Millisecond}
		}}
		got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 200}, []probe.Job{{Target: ts[0], Ports: ports(1, 2000)}})
		s := states(got[0])
		// 0.3^5 of 400 open ports would be one.
		if s[record.Open] < 399 || s[record.Open] > 400 || s[record.Unknown] != 0 {
			t.Errorf("%v, want 400 open", s)
		}
	})
}

// A machine with fewer descriptors than attempts finds the same as one with
// enough: a failure of ours is never taken for the target's word.
func TestShortOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1", "10.0.0.2")
		n := &network{descriptors: 5, answer: func(_ scope.Target, port uint16, _ int) reply {
			if port%2 == 0 {
				return reply{}
			}
			return reply{err: scope.Refused}
		}}
		got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 200}, []probe.Job{
			{Host: 0, Target: ts[0], Ports: ports(1, 500)}, {Host: 1, Target: ts[1], Ports: ports(1, 500)},
		})
		for i := range got {
			if s := states(got[i]); s[record.Open] != 250 || s[record.Closed] != 250 {
				t.Errorf("target %d: %v", i, s)
			}
		}
	})
}

// When a failure of ours stays, every port is unknown, soon, and says why.
func TestFailureThatStays(t *testing.T) {
	for _, c := range []scope.Cause{scope.Exhausted, scope.NoRoute, scope.NoAddress, scope.Denied, scope.Other, scope.SelfConnect, scope.Outside} {
		t.Run(string(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := targets(t, "10.0.0.1", "10.0.0.2")
				n := &network{answer: func(tg scope.Target, _ uint16, _ int) reply {
					if tg == ts[1] && c != scope.Exhausted {
						return reply{err: scope.Refused}
					}
					return reply{err: c}
				}}
				began := time.Now()
				got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 100}, []probe.Job{
					{Host: 0, Target: ts[0], Ports: ports(1, 5000)}, {Host: 1, Target: ts[1], Ports: ports(1, 5000)},
				})
				if d := time.Since(began); d > 20*time.Second {
					t.Errorf("took %v", d)
				}
				if s := states(got[0]); s[record.Unknown] != 5000 {
					t.Errorf("%v, want all unknown", s)
				}
				for _, r := range got[0] {
					if r.Evidence != record.LocalFailure || r.Detail == "" || r.Answered {
						t.Fatalf("%+v", r)
					}
				}
				want := record.Closed
				if c == scope.Exhausted {
					want = record.Unknown
				}
				if s := states(got[1]); s[want] != 5000 {
					t.Errorf("the other target: %v, want all %s", s, want)
				}
				if c == scope.Outside {
					sent := 0
					for to, tries := range n.tries {
						if to.Addr() == ts[0].Addr() {
							sent += tries
						}
					}
					if sent > 10 {
						t.Errorf("%d attempts after the wall had spoken", sent)
					}
				}
			})
		})
	}
}

// A failure of ours that passes leaves no trace.
func TestFailureThatPasses(t *testing.T) {
	for _, c := range []scope.Cause{scope.Exhausted, scope.NoRoute, scope.NoAddress, scope.Denied, scope.SelfConnect} {
		t.Run(string(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := targets(t, "10.0.0.1")
				began := time.Now()
				n := &network{answer: func(scope.Target, uint16, int) reply {
					if time.Since(began) < 500*time.Millisecond && c != scope.SelfConnect {
						return reply{err: c}
					}
					return reply{}
				}}
				if c == scope.SelfConnect {
					n.answer = func(_ scope.Target, _ uint16, n int) reply {
						if n < 4 {
							return reply{err: c}
						}
						return reply{err: scope.Refused}
					}
				}
				got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 100}, []probe.Job{{Target: ts[0], Ports: ports(1, 500)}})
				want := record.Open
				if c == scope.SelfConnect {
					want = record.Closed
				}
				if s := states(got[0]); s[want] != 500 {
					t.Errorf("%v, want all %s", s, want)
				}
			})
		})
	}
}

// Two of our own attempts that met each other on loopback are no open ports.
func TestAttemptsThatMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1")
		own := func(p uint16) netip.AddrPort { return netip.AddrPortFrom(ts[0].Addr(), p) }
		n := &network{answer: func(_ scope.Target, port uint16, n int) reply {
			switch {
			case port == 40000 && n == 1:
				return reply{local: own(40001)}
			case port == 40001 && n == 1:
				return reply{local: own(40000)}
			case port == 40005:
				return reply{local: own(39000)}
			}
			return reply{err: scope.Refused}
		}}
		got := run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 100}, []probe.Job{{Target: ts[0], Ports: ports(39990, 40010)}})
		for port, r := range got[0] {
			want := record.Closed
			if port == 40005 {
				want = record.Open
			}
			if r.State != want {
				t.Errorf("port %d: %+v", port, r)
			}
		}
		if len(got[0]) != 21 {
			t.Errorf("%d results", len(got[0]))
		}
	})
}

func TestStopped(t *testing.T) {
	for name, stop := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(1500*time.Millisecond, cancel)
			return ctx, cancel
		},
		"out of time": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 1500*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := stop(t.Context())
				defer cancel()
				ts := targets(t, "10.0.0.1")
				n := &network{answer: func(_ scope.Target, port uint16, _ int) reply {
					if port <= 5 {
						return reply{}
					}
					return reply{err: scope.TimedOut}
				}}
				began := time.Now()
				var last probe.Progress
				got := run(t, ctx, probe.Config{Dial: n.dial, InFlight: 64, HostRate: 10, Progress: func(p probe.Progress) { last = p }},
					[]probe.Job{{Target: ts[0], Ports: ports(1, 60000)}})
				if d := time.Since(began); d > 1501*time.Millisecond {
					t.Errorf("stopped after %v", d)
				}
				s := states(got[0])
				if s[record.Open] != 5 || s[record.Unknown] != 0 || len(got[0]) > 20 {
					t.Errorf("settled: %v", s)
				}
				if last.Done != len(got[0]) || last.Total != 60000 || last.Open != 5 {
					t.Errorf("progress: %+v with %d results", last, len(got[0]))
				}
			})
		})
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(t, "10.0.0.1")
		n := &network{answer: func(_ scope.Target, port uint16, _ int) reply {
			if port%100 == 0 {
				return reply{after: 20 * time.Millisecond}
			}
			return reply{err: scope.Refused, after: 20 * time.Millisecond}
		}}
		var seen []probe.Progress
		run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 50, Progress: func(p probe.Progress) { seen = append(seen, p) }},
			[]probe.Job{{Target: ts[0], Ports: ports(1, 2000)}})
		for i := 1; i < len(seen); i++ {
			if seen[i].Done < seen[i-1].Done {
				t.Errorf("%v after %v", seen[i], seen[i-1])
			}
		}
		if len(seen) < 3 {
			t.Fatalf("only %d calls", len(seen))
		}
		if last := seen[len(seen)-1]; last != (probe.Progress{Done: 2000, Total: 2000, Open: 20}) {
			t.Errorf("ends with %+v", last)
		}
	})
}

// A thousand targets are more than the limit in flight; all get done.
func TestManyTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answer: func(scope.Target, uint16, int) reply { return reply{err: scope.Refused} }}
		var jobs []probe.Job
		for i := range 1000 {
			tg := targets(t, fmt.Sprintf("10.0.%d.%d", i/250, i%250+1))[0]
			jobs = append(jobs, probe.Job{Host: i, Target: tg, Ports: ports(1, 10)})
		}
		for i, m := range run(t, t.Context(), probe.Config{Dial: n.dial, InFlight: 100}, jobs) {
			if s := states(m); s[record.Closed] != 10 {
				t.Fatalf("target %d: %v", i, s)
			}
		}
		if n.max > 100 {
			t.Errorf("%d in flight", n.max)
		}
	})
}
