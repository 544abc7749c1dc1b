package admit_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern.example/smtpd/admit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func tracker(t testing.TB, cfg admit.Config) *admit.Tracker {
	t.Helper()
	k, err := admit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func addr(format string, v ...any) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, v...)) }

// connect admits a client, or fails.
func connect(t testing.TB, k *admit.Tracker, a netip.Addr, now time.Time) *admit.Session {
	t.Helper()
	s, r := k.Connect(a, now)
	if !r.IsZero() || s == nil {
		t.Fatalf("%v is refused: %v", a, r)
	}
	return s
}

func refused(t testing.TB, k *admit.Tracker, a netip.Addr, now time.Time, why admit.Reason) {
	t.Helper()
	s, r := k.Connect(a, now)
	if r.Reason != why || s != nil {
		t.Fatalf("%v gets %q, not %q", a, r.Reason, why)
	}
	if r.Code != 421 && r.Code != 554 || strings.ContainsAny(r.String(), "\r\n") || !strings.HasPrefix(r.Enhanced, r.String()[:1]) {
		t.Errorf("%q is no answer to a connection", r)
	}
}

// TestConcurrent opens sessions until the first refusal.
func TestConcurrent(t *testing.T) {
	small := admit.Config{AddrSessions: 3, NetSessions: 5, SiteSessions: 7, Lenience: 2}
	strict := small
	strict.StrictLoopback = true
	off := admit.Config{AddrSessions: -1, NetSessions: -1, AddrConnects: -1, NetConnects: -1}
	for _, tt := range []struct {
		name string
		cfg  admit.Config
		from func(i int) netip.Addr
		want int
		why  admit.Reason
	}{
		{"one address", small, func(int) netip.Addr { return addr("192.0.2.1") }, 3, admit.AddrSessions},
		{"one mapped address", small, func(i int) netip.Addr { return addr("%s192.0.2.1", []string{"::ffff:", ""}[i%2]) }, 3, admit.AddrSessions},
		{"a /24", small, func(i int) netip.Addr { return addr("192.0.2.%d", i) }, 5, admit.NetSessions},
		{"one IPv6 address", small, func(i int) netip.Addr { return addr("2001:db8::1%%%d", i) }, 3, admit.AddrSessions},
		{"a /64", small, func(i int) netip.Addr { return addr("2001:db8::%d", i) }, 5, admit.NetSessions},
		{"a /48", small, func(i int) netip.Addr { return addr("2001:db8:0:%d::1", i) }, 7, admit.NetSessions},
		{"private", small, func(int) netip.Addr { return addr("10.0.0.1") }, 6, admit.AddrSessions},
		{"private /24", small, func(i int) netip.Addr { return addr("192.168.0.%d", i) }, 10, admit.NetSessions},
		{"strict loopback", strict, func(int) netip.Addr { return addr("127.0.0.1") }, 3, admit.AddrSessions},
		{"strict loopback, IPv6", strict, func(int) netip.Addr { return addr("::1") }, 3, admit.AddrSessions},
		{"the default of an address", admit.Config{}, func(int) netip.Addr { return addr("192.0.2.1") }, 30, admit.AddrSessions},
		{"the default of a /24", admit.Config{}, func(i int) netip.Addr { return addr("192.0.2.%d", i) }, 100, admit.NetSessions},
		{"a test suite's container", admit.Config{}, func(int) netip.Addr { return addr("172.17.0.2") }, 600, admit.AddrSessions},
		{"one network, no cap of its own", off, func(i int) netip.Addr { return addr("192.0.%d.%d", i/200, i%200) }, 1800, admit.Reserved},
		{"one allocation of IPv6", off, func(i int) netip.Addr { return addr("2001:db8:%x::1", i) }, 1800, admit.Reserved},
		{"many allocations", off, func(i int) netip.Addr { return addr("%d.%d.0.1", 20+i/200, i%200) }, 2000, admit.Full},
		{"loopback", small, func(int) netip.Addr { return addr("127.0.0.1") }, 2000, admit.Full},
		{"no address", small, func(int) netip.Addr { return netip.Addr{} }, 2000, admit.Full},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := tracker(t, tt.cfg)
			var open []*admit.Session
			for i := range tt.want {
				open = append(open, connect(t, k, tt.from(i), start))
			}
			refused(t, k, tt.from(tt.want), start, tt.why)
			// Who leaves makes room for one, and leaves once.
			open[0].Close(start)
			open[0].Close(start)
			open[0] = connect(t, k, tt.from(0), start.Add(time.Hour))
			refused(t, k, tt.from(tt.want), start.Add(2*time.Hour), tt.why)
			for _, s := range open {
				s.Close(start)
			}
			if got := k.Snapshot(start); got.Sessions != 0 || got.Peak != tt.want || got.Refused[tt.why] != 2 || got.Admitted != uint64(tt.want)+1 {
				t.Errorf("afterwards: %+v", got)
			}
		})
	}
}

// TestReserve has 200 networks try to take the server, and one more client.
func TestReserve(t *testing.T) {
	k := tracker(t, admit.Config{Sessions: 1000})
	held := 0
	for round := range 30 {
		for i := range 200 {
			if s, _ := k.Connect(addr("%d.%d.0.%d", 20+i/20, i%20, round), start); s != nil {
				held++
			}
		}
	}
	if held != 900 {
		t.Errorf("they hold %d of 1000", held)
	}
	for range 4 {
		connect(t, k, addr("198.51.100.1"), start)
	}
	refused(t, k, addr("198.51.100.1"), start, admit.Reserved)
	connect(t, k, addr("127.0.0.1"), start)
}

func TestConnectRates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  func(i int) netip.Addr
		burst int
		why   admit.Reason
	}{
		{"an address", func(int) netip.Addr { return addr("192.0.2.1") }, 60, admit.AddrConnects},
		{"a /64", func(i int) netip.Addr { return addr("2001:db8::%x", i) }, 60, admit.AddrConnects},
		{"a /24", func(i int) netip.Addr { return addr("192.0.2.%d", i%200) }, 120, admit.NetConnects},
		{"a /48", func(i int) netip.Addr { return addr("2001:db8:0:%x::1", i) }, 120, admit.NetConnects},
		{"private", func(int) netip.Addr { return addr("10.0.0.1") }, 600, admit.AddrConnects},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := tracker(t, admit.Config{AddrConnects: 60, NetConnects: 120, Lenience: 10})
			n := 0
			try := func(now time.Time) bool {
				s, r := k.Connect(tt.from(n), now)
				if s == nil {
					if r.Reason != tt.why {
						t.Fatalf("number %d gets %q", n, r.Reason)
					}
					return false
				}
				n++
				s.Close(now)
				return true
			}
			for try(start) {
			}
			if n != tt.burst {
				t.Errorf("%d in a burst, not %d", n, tt.burst)
			}
			// After that, evenly; knocking in vain costs nothing.
			n = 0
			for ms := 1; ms <= 60_000; ms++ {
				try(start.Add(time.Duration(ms) * time.Millisecond))
			}
			if n < tt.burst-1 || n > tt.burst {
				t.Errorf("%d in the minute after, not %d", n, tt.burst)
			}
			// A clock set back fills nothing, and the limit does not stick.
			if try(start.Add(-time.Hour)) {
				t.Error("the clock was set back, and there was room")
			}
			try(start.Add(-58 * time.Minute))
			if !try(start.Add(-56 * time.Minute)) {
				t.Error("after the clock was set back, there is no room for two minutes")
			}
		})
	}
}

func TestHourly(t *testing.T) {
	k := tracker(t, admit.Config{Messages: 10, Recipients: 100, Lenience: 3})
	s := connect(t, k, addr("192.0.2.1"), start)
	other := connect(t, k, addr("192.0.2.1"), start)
	for i := range 10 {
		if r := []*admit.Session{s, other}[i%2].Message(start); !r.IsZero() {
			t.Fatalf("message %d: %v", i, r)
		}
	}
	if r := s.Message(start); r.String() != "450 4.7.1 Too many messages from your address: try again later" {
		t.Errorf("one more: %v", r)
	}
	if r := s.Message(start.Add(6 * time.Minute)); !r.IsZero() {
		t.Errorf("a tenth of an hour later: %v", r)
	}
	if r := s.Recipients(99, start); !r.IsZero() {
		t.Error(r)
	}
	if r := s.Recipients(2, start); r.Code != 450 || r.Reason != admit.Recipients {
		t.Errorf("101 recipients: %v", r)
	}
	if r := s.Recipients(1, start); !r.IsZero() {
		t.Errorf("what was refused was counted: %v", r)
	}
	// What an address has sent is not forgotten with its session.
	s.Close(start)
	other.Close(start)
	if r := connect(t, k, addr("192.0.2.1"), start.Add(time.Second)).Recipients(1, start.Add(time.Second)); r.IsZero() {
		t.Error("a new connection may begin anew")
	}
	for _, free := range []netip.Addr{addr("127.0.0.1"), addr("::1"), {}} {
		s := connect(t, k, free, start)
		for range 1000 {
			if r := s.Message(start); !r.IsZero() {
				t.Fatal(r)
			}
		}
	}
	p := connect(t, k, addr("10.0.0.1"), start)
	n := 0
	for p.Message(start).IsZero() {
		n++
	}
	if n != 30 {
		t.Errorf("%d messages from a private network", n)
	}
}

// TestListsAtWork changes the lists under open sessions.
func TestListsAtWork(t *testing.T) {
	k := tracker(t, admit.Config{AddrSessions: 2, Messages: 1, BanScore: 10})
	a := addr("192.0.2.1")
	s := connect(t, k, a, start)
	k.SetLists(nil, list(t, "192.0.2.0/24"))
	if r := s.Message(start); r.Code != 554 {
		t.Errorf("a blocked client may go on: %v", r)
	}
	refused(t, k, a, start, admit.Blocked)
	k.SetLists(list(t, "192.0.2.1"), list(t, "192.0.2.0/24"))
	for range 10 {
		if !connect(t, k, a, start).Exempt() {
			t.Error("an allowed client is not exempt")
		}
	}
	k.Fault(a, admit.AuthFailed, start)
	for range 3 {
		if r := s.Message(start); !r.IsZero() {
			t.Errorf("an allowed client is refused: %v", r)
		}
	}
	if got := k.Snapshot(start); got.Allowed != 1 || got.Blocked != 1 || got.Sessions != 11 {
		t.Errorf("%+v", got)
	}
	k.SetLists(nil, nil)
	connect(t, k, a, start)
	refused(t, k, a, start, admit.AddrSessions) // the counters have stayed
}

func TestValidate(t *testing.T) {
	for _, good := range []admit.Config{
		{},
		{Sessions: -1, Reserve: -1, AddrSessions: -1, NetSessions: -1, SiteSessions: -1, AddrConnects: -1, NetConnects: -1,
			Messages: -1, Recipients: -1, Lenience: -1, IdleCommands: -1, Errors: -1, Delay: -1, MinRate: -1, GreetPause: -1, BanScore: -1},
		{AddrSessions: 5000, AddrConnects: 1e6},
		{Sessions: 1},
		{Delay: time.Minute}, {MaxDelay: time.Millisecond},
		{BanFor: 48 * time.Hour}, {BanMax: time.Minute},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
		tracker(t, good)
	}
	for _, tt := range []struct {
		cfg  admit.Config
		want []string
	}{
		{admit.Config{Sessions: 1 << 40, Tracked: -1, Stall: -1, Lenience: 1 << 20}, []string{"Sessions", "Tracked", "Stall", "Lenience"}},
		{admit.Config{Delay: time.Hour, GreetPause: time.Hour, BanFor: 1, Tracked: 3}, []string{"Delay", "GreetPause", "BanFor", "Tracked"}},
		{admit.Config{Sessions: 10, Reserve: 10, AddrSessions: 5, NetSessions: 4, SiteSessions: 3}, []string{"Reserve", "AddrSessions", "NetSessions"}},
		{admit.Config{AddrConnects: 5, NetConnects: 4, Delay: 2 * time.Second, MaxDelay: time.Second, BanFor: time.Hour, BanMax: time.Minute},
			[]string{"AddrConnects", "Delay", "BanFor"}},
	} {
		err := tt.cfg.Validate()
		if err == nil || strings.Count(err.Error(), "\n")+1 != len(tt.want) {
			t.Errorf("%+v: %v", tt.cfg, err)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains("\n"+err.Error(), "\n"+w+": ") {
				t.Errorf("%s is not named in: %v", w, err)
			}
		}
		if _, err := admit.New(tt.cfg); err == nil {
			t.Error("New takes it")
		}
	}
}
