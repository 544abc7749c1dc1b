package admit_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"postern.example/smtpd/admit"
)

// wide is the i-th address of one /32 of IPv6, in a /48 of its own for a while.
func wide(i int) netip.Addr {
	b := [16]byte{0x2a, 0x01, 0x04, 0xf8}
	binary.BigEndian.PutUint32(b[4:], uint32(i)*2654435761) // spreads over /48 and /64
	b[15] = 1
	return netip.AddrFrom16(b)
}

// TestMillion has a million addresses of one /32 come by. They cost no more room
// than is set aside, and wash away nothing of anybody else's.
func TestMillion(t *testing.T) {
	const tracked = 1 << 14
	k := tracker(t, admit.Config{Tracked: tracked, AddrConnects: 5, Messages: 5})
	now := start
	victims := []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1"), addr("198.51.100.77")}
	for _, v := range victims {
		failures(k, v, admit.AuthFailed, now)
	}
	quiet := addr("203.0.113.5") // has used up its messages
	s := connect(t, k, quiet, now)
	for range 5 {
		s.Message(now)
	}
	s.Close(now)
	held := connect(t, k, addr("203.0.113.6"), now)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 1_000_000 {
		a := wide(i)
		if i%16 == 0 {
			k.Fault(a, admit.AuthFailed, now)
		}
		if s, _ := k.Connect(a, now); s != nil {
			s.Close(now)
		}
		if i%100_000 == 0 {
			if got := k.Snapshot(now).Tracked; got > tracked+2 {
				t.Fatalf("%d are remembered", got)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 600*tracked {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	got := k.Snapshot(now)
	if got.Tracked > tracked+2 || got.Tracked < tracked/2 || got.Evicted < 500_000 {
		t.Errorf("afterwards: %+v", got)
	}
	for _, v := range victims {
		refused(t, k, v, now, admit.Banned)
	}
	if r := connect(t, k, quiet, now).Message(now); r.Reason != admit.Messages {
		t.Errorf("what %v had used up was washed away", quiet)
	}
	held.Close(now)
	k.Sweep(now.AddDate(1, 0, 0))
	if got := k.Snapshot(now); got.Tracked > 4 {
		t.Errorf("a year later: %+v", got)
	}
}

// TestBannedMillion bans more addresses than there is room for bans.
func TestBannedMillion(t *testing.T) {
	const tracked = 1024
	k := tracker(t, admit.Config{Tracked: tracked})
	victim := addr("192.0.2.1")
	failures(k, victim, admit.AuthFailed, start)
	for i := range 20_000 {
		for range 10 {
			k.Fault(wide(i), admit.AuthFailed, start)
		}
		if got := k.Snapshot(start); got.Tracked > tracked || got.Banned > tracked/4 {
			t.Fatalf("after %d: %+v", i, got)
		}
	}
	refused(t, k, victim, start, admit.Banned)
	refused(t, k, wide(19_999), start, admit.Banned)
}

// model is a second opinion on who is connected.
type model struct {
	total           int
	addr, net, site map[netip.Prefix]int
	open            []*admit.Session
	from            []netip.Addr
	connects        map[netip.Prefix][]time.Time
}

func (m *model) count(a netip.Addr, d int) {
	if a.IsLoopback() || !a.IsValid() {
		m.total += d
		return
	}
	lengths := []int{32, 24, 24}
	if a.Is6() {
		lengths = []int{128, 64, 48}
	}
	for i, where := range []map[netip.Prefix]int{m.addr, m.net, m.site} {
		p, _ := a.Prefix(lengths[i])
		where[p] += d
	}
	m.total += d
}

// play runs a program of operations against a Tracker and checks after each that
// no cap is passed.
func play(t *testing.T, program []byte) {
	cfg := admit.Config{
		Sessions: 24, Reserve: 4, AddrSessions: 3, NetSessions: 5, SiteSessions: 7, Lenience: 1,
		AddrConnects: 8, NetConnects: 20, Messages: 6, Tracked: 64,
		BanFor: time.Minute, BanMax: 10 * time.Minute, BanDecay: 10 * time.Minute,
	}
	k := tracker(t, cfg)
	m := &model{addr: map[netip.Prefix]int{}, net: map[netip.Prefix]int{}, site: map[netip.Prefix]int{},
		connects: map[netip.Prefix][]time.Time{}}
	now := start
	for len(program) >= 3 {
		op, x, y := program[0], program[1], program[2]
		program = program[3:]
		var a netip.Addr
		switch x % 8 {
		case 0:
			a = addr("127.0.0.%d", y)
		case 1, 2, 3:
			a = addr("192.%d.2.%d", x%4, y%8)
		case 4:
			a = addr("::ffff:192.1.2.%d", y%8)
		case 5, 6:
			a = addr("2001:db8:%d:%d::%d", x/8%2, y/16%3, y%4)
		}
		switch op % 8 {
		case 0, 1, 2:
			s, r := k.Connect(a, now)
			if (s == nil) == r.IsZero() {
				t.Fatalf("%v: %v and %v", a, s, r)
			}
			if s == nil {
				break
			}
			a = a.Unmap()
			m.open, m.from = append(m.open, s), append(m.from, a)
			m.count(a, 1)
			if a.IsValid() && !a.IsLoopback() {
				p, _ := a.Prefix(min(a.BitLen(), 64))
				m.connects[p] = append(m.connects[p], now)
			}
		case 3:
			if len(m.open) == 0 {
				break
			}
			i := int(y) % len(m.open)
			m.open[i].Close(now)
			m.count(m.from[i], -1)
			m.open, m.from = append(m.open[:i], m.open[i+1:]...), append(m.from[:i], m.from[i+1:]...)
		case 4:
			k.Fault(a, admit.Failure(y%6), now)
		case 5:
			if len(m.open) > 0 {
				i := int(y) % len(m.open)
				if v := m.open[i].Fault(admit.Failure(x%5), now); v.Delay < 0 || v.Delay > 8*time.Second {
					t.Fatalf("a delay of %v", v.Delay)
				}
				m.open[i].Message(now)
				m.open[i].Greeted(y%2 == 0, now)
			}
		case 6:
			now = now.Add(time.Duration(x) * time.Duration(y) * 10 * time.Millisecond)
		case 7:
			k.Sweep(now)
			b, _ := admit.ParseList("", fmt.Appendf(nil, "192.%d.2.0/24", y))
			k.SetLists(nil, b)
		}
		got := k.Snapshot(now)
		if got.Sessions != m.total || m.total > cfg.Sessions || got.Tracked > cfg.Tracked+2*cfg.Sessions {
			t.Fatalf("%d are open, and %+v", m.total, got)
		}
		for most, where := range map[int]map[netip.Prefix]int{3: m.addr, 5: m.net, 7: m.site} {
			for p, n := range where {
				if n > most {
					t.Fatalf("%d from %v", n, p)
				}
			}
		}
		for p, times := range m.connects {
			last := 0
			for _, c := range times {
				if now.Sub(c) < time.Minute {
					last++
				}
			}
			if last > 2*cfg.AddrConnects {
				t.Fatalf("%d new ones from %v in a minute", last, p)
			}
		}
	}
	for _, s := range m.open {
		s.Close(now)
	}
	// Every ban ends, and all is forgotten.
	k.SetLists(nil, nil)
	now = now.Add(cfg.BanMax)
	got := k.Snapshot(now)
	if got.Sessions != 0 || got.Banned != 0 {
		t.Fatalf("in the end: %+v", got)
	}
	now = now.AddDate(1, 0, 0)
	k.Sweep(now)
	if got := k.Snapshot(now); got.Tracked != 0 {
		t.Fatalf("a year later: %+v", got)
	}
}

// FuzzTracker: never more than the caps, never more room, every ban ends.
func FuzzTracker(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(random(seed, 600))
	}
	f.Fuzz(play)
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestPrograms(t *testing.T) {
	for seed := range uint64(60) {
		play(t, random(seed+100, 900))
	}
}

// TestConcurrentUse has many goroutines use one Tracker; at no time do more pass
// than may.
func TestConcurrentUse(t *testing.T) {
	const workers, rounds = 8, 40
	k := tracker(t, admit.Config{Sessions: 20, AddrSessions: 3, NetSessions: 5, AddrConnects: -1, NetConnects: -1, Tracked: 64, BanFor: time.Second, BanMax: time.Second})
	var mu sync.Mutex
	open, most := map[netip.Addr]int{}, map[netip.Addr]int{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				now := start.Add(time.Duration(i*w) * 10 * time.Millisecond)
				a := addr("192.0.2.%d", i%3)
				if w%2 == 0 {
					a = addr("2001:db8::%d", i%3)
				}
				s, r := k.Connect(a, now)
				if s == nil {
					if r.IsZero() {
						t.Error("neither in nor out")
					}
					k.Fault(a, admit.AfterRefusal, now)
					continue
				}
				mu.Lock()
				open[a]++
				most[a] = max(most[a], open[a])
				mu.Unlock()
				s.GreetPause()
				s.Greeted(false, now)
				s.Command()
				s.Fault(admit.ProtocolError, now)
				s.Message(now)
				s.Recipients(3, now)
				s.Progress()
				k.IsBanned(a, now)
				if i%10 == 0 {
					k.SetLists(nil, nil)
					k.Sweep(now)
					k.Snapshot(now)
				}
				mu.Lock()
				open[a]--
				mu.Unlock()
				s.Close(now)
				s.Close(now)
			}
		})
	}
	wg.Wait()
	for a, n := range most {
		if n > 3 {
			t.Errorf("%d at once from %v", n, a)
		}
	}
	if got := k.Snapshot(start); got.Sessions != 0 || got.Peak > 20 {
		t.Errorf("afterwards: %+v", got)
	}
}

func BenchmarkConnect(b *testing.B) {
	blocks := "203.0.113.0/24\n198.51.100.7\n2001:db8:bad::/48\n"
	for _, bb := range []struct {
		name string
		from func(i int) netip.Addr
	}{
		{"loopback", func(int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }},
		{"one", func(int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }},
		{"many", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{20, byte(i >> 14), byte(i >> 7), byte(i)}) }},
		{"flood", wide},
	} {
		b.Run(bb.name, func(b *testing.B) {
			k := tracker(b, admit.Config{AddrConnects: 1e9})
			k.SetLists(nil, list(b, blocks))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				now := start.Add(time.Duration(i) * time.Microsecond)
				if s, _ := k.Connect(bb.from(i), now); s != nil {
					s.Close(now)
				}
				i++
			}
		})
	}
}
