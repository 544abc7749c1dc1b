package admit_test

import (
	"net/netip"
	"testing"
	"time"

	"postern.example/smtpd/admit"
)

// failures counts how many of a kind it takes for a ban, without waiting.
func failures(k *admit.Tracker, a netip.Addr, f admit.Failure, now time.Time) int {
	for n := 1; n <= 10_000; n++ {
		k.Fault(a, f, now)
		if k.IsBanned(a, now) {
			return n
		}
	}
	return -1
}

func TestBanScores(t *testing.T) {
	for _, tt := range []struct {
		f             admit.Failure
		from          string
		loopbackCount bool
		want          int
	}{
		{admit.AuthFailed, "192.0.2.1", false, 10},
		{admit.SpokeEarly, "192.0.2.1", false, 13},
		{admit.UnknownRecipient, "192.0.2.1", false, 34},
		{admit.ProtocolError, "192.0.2.1", false, 50},
		{admit.AfterRefusal, "2001:db8::1", false, 100},
		{admit.AuthFailed, "10.0.0.1", false, 200},
		{admit.AuthFailed, "127.0.0.1", false, -1},
		{admit.AuthFailed, "::1", false, -1},
		{admit.AuthFailed, "127.0.0.1", true, 10},
	} {
		t.Run(tt.f.String()+" "+tt.from, func(t *testing.T) {
			k := tracker(t, admit.Config{StrictLoopback: tt.loopbackCount})
			if got := failures(k, addr("%s", tt.from), tt.f, start); got != tt.want {
				t.Errorf("banned after %d, not %d", got, tt.want)
			}
		})
	}
	k := tracker(t, admit.Config{BanScore: -1})
	if got := failures(k, addr("192.0.2.1"), admit.AuthFailed, start); got != -1 {
		t.Errorf("bans are off, and %d failures end in one", got)
	}
}

// TestBan follows one offender.
func TestBan(t *testing.T) {
	k := tracker(t, admit.Config{BanFor: 10 * time.Minute, BanMax: time.Hour})
	a, now := addr("192.0.2.1"), start
	live := connect(t, k, a, now)
	for _, length := range []time.Duration{10, 20, 40, 60, 60} {
		length *= time.Minute
		if n := failures(k, a, admit.AuthFailed, now); n != 10 {
			t.Fatalf("banned after %d", n)
		}
		refused(t, k, a, now, admit.Banned)
		if r := live.Message(now); r.Code != 421 || r.Reason != admit.Banned {
			t.Errorf("an open session goes on: %v", r)
		}
		connect(t, k, addr("192.0.2.2"), now).Close(now)
		if got := k.Snapshot(now); got.Banned != 1 {
			t.Errorf("%d are banned", got.Banned)
		}
		k.Fault(a, admit.AuthFailed, now) // makes it no longer
		refused(t, k, a, now.Add(length-time.Second), admit.Banned)
		now = now.Add(length)
		connect(t, k, a, now).Close(now)
		if r := live.Message(now); !r.IsZero() {
			t.Errorf("the ban has ended, and: %v", r)
		}
		if got := k.Snapshot(now); got.Banned != 0 {
			t.Errorf("%d are banned", got.Banned)
		}
	}
	// Good conduct is remembered too: three bans are forgotten in three hours.
	now = now.Add(3 * time.Hour)
	failures(k, a, admit.AuthFailed, now)
	now = now.Add(40 * time.Minute)
	connect(t, k, a, now).Close(now)
	live.Close(now)
	now = now.Add(24 * time.Hour)
	k.Sweep(now)
	if got := k.Snapshot(now); got.Tracked != 0 || got.Bans != 6 {
		t.Errorf("a day later: %+v", got)
	}
}

// TestBanDecays has failures come slowly.
func TestBanDecays(t *testing.T) {
	k := tracker(t, admit.Config{})
	now := start
	for range 1000 {
		k.Fault(addr("192.0.2.1"), admit.AuthFailed, now)
		now = now.Add(6 * time.Minute)
	}
	if k.IsBanned(addr("192.0.2.1"), now) {
		t.Error("ten failures an hour, evenly, are no ban")
	}
}

// TestBanClock sets the clock back under a ban.
func TestBanClock(t *testing.T) {
	k := tracker(t, admit.Config{BanFor: time.Hour, BanMax: time.Hour})
	a, future := addr("192.0.2.1"), start.AddDate(50, 0, 0)
	connect(t, k, addr("192.0.2.9"), start).Close(start)
	failures(k, a, admit.AuthFailed, future)
	if !k.IsBanned(a, start) {
		t.Error("the ban is gone")
	}
	if k.IsBanned(a, start.Add(time.Hour)) {
		t.Error("the ban lasts for fifty years")
	}
}

// TestBanNetwork rotates through a /48 and a /24.
func TestBanNetwork(t *testing.T) {
	for name, tt := range map[string]struct {
		from    func(i int) netip.Addr
		outside string
	}{
		"a /64 is one":  {func(i int) netip.Addr { return addr("2001:db8:1:1:%x::1", i) }, "2001:db8:1:2::1"},
		"a /48 adds up": {func(i int) netip.Addr { return addr("2001:db8:1:%x::1", i) }, "2001:db8:2::1"},
		"a /24 adds up": {func(i int) netip.Addr { return addr("192.0.2.%d", i) }, "192.0.3.1"},
	} {
		t.Run(name, func(t *testing.T) {
			k := tracker(t, admit.Config{})
			for i := range 81 {
				k.Fault(tt.from(i), admit.AuthFailed, start)
			}
			refused(t, k, tt.from(100), start, admit.Banned)
			connect(t, k, addr("%s", tt.outside), start)
		})
	}
}

func TestGreet(t *testing.T) {
	k := tracker(t, admit.Config{GreetPause: 5 * time.Second})
	a := addr("192.0.2.1")
	s := connect(t, k, a, start)
	if s.GreetPause() != 5*time.Second {
		t.Errorf("waits for %v", s.GreetPause())
	}
	if r := s.Greeted(true, start); r.Code != 554 || r.Reason != admit.EarlyTalker {
		t.Errorf("an early talker gets %v", r)
	}
	if r := s.Greeted(true, start); !r.IsZero() {
		t.Errorf("and once more: %v", r)
	}
	s = connect(t, k, a, start)
	if s.GreetPause() == 0 {
		t.Error("an early talker need not wait")
	}
	if r := s.Greeted(false, start); !r.IsZero() {
		t.Errorf("a patient one gets %v", r)
	}
	s.Close(start)
	if d := connect(t, k, a, start.Add(23*time.Hour)).GreetPause(); d != 0 {
		t.Errorf("waits again: %v", d)
	}
	if d := connect(t, k, a, start.Add(25*time.Hour)).GreetPause(); d == 0 {
		t.Error("waits never again")
	}
	for _, free := range []netip.Addr{addr("127.0.0.1"), addr("::1"), addr("10.0.0.1"), {}} {
		s := connect(t, k, free, start)
		if s.GreetPause() != 0 || !s.Greeted(true, start).IsZero() {
			t.Errorf("%v has to wait", free)
		}
	}
	off := tracker(t, admit.Config{GreetPause: -1})
	if d := connect(t, off, a, start).GreetPause(); d != 0 {
		t.Errorf("off is %v", d)
	}
	// Early talkers are banned in the end.
	n := 0
	for ; n < 100; n++ {
		s, r := k.Connect(addr("198.51.100.1"), start)
		if s == nil {
			if r.Reason != admit.Banned {
				t.Errorf("refused as %v", r.Reason)
			}
			break
		}
		s.Greeted(true, start)
		s.Close(start)
	}
	if n != 13 {
		t.Errorf("banned after %d", n)
	}
}

func TestDelays(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name string
		from string
		cfg  admit.Config
		f    admit.Failure
		want []time.Duration
	}{
		{"errors", "192.0.2.1", admit.Config{}, admit.ProtocolError, []time.Duration{0, 0, 0, s, 2 * s, 4 * s, 8 * s, 8 * s}},
		{"passwords", "192.0.2.1", admit.Config{}, admit.AuthFailed, []time.Duration{s, 2 * s, 4 * s, 8 * s, 8 * s}},
		{"private", "10.0.0.1", admit.Config{}, admit.ProtocolError, []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"private passwords", "10.0.0.1", admit.Config{}, admit.AuthFailed, []time.Duration{0, 0, 0, s, 2 * s}},
		{"loopback", "127.0.0.1", admit.Config{}, admit.AuthFailed, []time.Duration{0, 0, 0, 0, 0, 0}},
		{"off", "192.0.2.1", admit.Config{Delay: -1}, admit.AuthFailed, []time.Duration{0, 0, 0, 0, 0, 0}},
		{"bounded", "192.0.2.1", admit.Config{MaxDelay: 3 * s}, admit.AuthFailed, []time.Duration{s, 2 * s, 3 * s, 3 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := tracker(t, tt.cfg)
			c := connect(t, k, addr("%s", tt.from), start)
			for i, want := range tt.want {
				if v := c.Fault(tt.f, start); v.Delay != want || !v.Refusal.IsZero() {
					t.Errorf("failure %d: %+v, not %v", i+1, v, want)
				}
			}
			c.Close(start)
		})
	}
	// A new connection does not begin anew.
	k := tracker(t, admit.Config{})
	for i, want := range []time.Duration{s, s, s, 2 * s, 4 * s, 8 * s} {
		c := connect(t, k, addr("192.0.2.1"), start)
		if v := c.Fault(admit.AuthFailed, start); v.Delay != want {
			t.Errorf("connection %d: %v, not %v", i+1, v.Delay, want)
		}
		c.Close(start)
	}
}

func TestBudgets(t *testing.T) {
	for _, from := range []string{"192.0.2.1", "127.0.0.1"} {
		k := tracker(t, admit.Config{Errors: 5, IdleCommands: 10})
		c := connect(t, k, addr("%s", from), start)
		for range 3 { // a message refills both
			for range 5 {
				if v := c.Fault(admit.ProtocolError, start); !v.Refusal.IsZero() {
					t.Fatal(v)
				}
			}
			for range 10 {
				if r := c.Command(); !r.IsZero() {
					t.Fatal(r)
				}
			}
			c.Progress()
		}
		for range 5 {
			c.Fault(admit.ProtocolError, start)
		}
		if v := c.Fault(admit.ProtocolError, start); v.Refusal.Reason != admit.Errors || v.Refusal.Code != 421 {
			t.Errorf("%s: after the last error: %+v", from, v)
		}
		for range 10 {
			c.Command()
		}
		if r := c.Command(); r.Reason != admit.NoProgress || r.Code != 421 {
			t.Errorf("%s: after the last command: %v", from, r)
		}
		if r := c.TooSlow(); r.Reason != admit.TooSlow || k.Snapshot(start).Refused[admit.TooSlow] != 1 {
			t.Errorf("too slow: %v", r)
		}
		if p := c.Pace(start); p.Deadline() != start.Add(3*time.Minute) {
			t.Errorf("a pace of %v", p.Deadline().Sub(start))
		}
		c.Close(start)
	}
	// A password too many is a ban, in the session that tried it.
	k := tracker(t, admit.Config{})
	c := connect(t, k, addr("192.0.2.1"), start)
	for i := range 9 {
		if v := c.Fault(admit.AuthFailed, start); !v.Refusal.IsZero() {
			t.Fatalf("password %d: %+v", i+1, v)
		}
	}
	if v := c.Fault(admit.AuthFailed, start); v.Refusal.Reason != admit.Banned {
		t.Errorf("password 10: %+v", v)
	}
}
