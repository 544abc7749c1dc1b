package admit

import (
	"net/netip"
	"sync"
	"time"
)

// Tracker counts clients and admits or refuses them. It is safe for concurrent
// use.
type Tracker struct {
	cfg Config

	mu           sync.Mutex
	epoch        time.Time // of instants: the first time that was passed in
	allow, block *List
	accounts     map[key]*account
	origins      map[key]*origin
	addrs        map[netip.Addr]int // open sessions of single IPv6 addresses
	shelves      [2]shelf           // plain, and with bans
	swept        instant
	banned       map[*account]struct{} // by a ban that was not seen to end yet

	sessions int
	peak     int
	admitted uint64
	bans     uint64
	evicted  uint64
	refused  map[Reason]uint64
}

const (
	plain = iota // shelves
	marked
)

// sweepEvery bounds how often a full shelf is searched for what can go for
// nothing.
const sweepEvery = time.Minute

// New makes a Tracker. It fails with every fault of cfg.
func New(cfg Config) (*Tracker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	t := &Tracker{
		cfg:      cfg,
		accounts: map[key]*account{},
		origins:  map[key]*origin{},
		addrs:    map[netip.Addr]int{},
		banned:   map[*account]struct{}{},
		refused:  map[Reason]uint64{},
	}
	t.shelves[plain] = shelf{id: plain, max: cfg.Tracked - cfg.Tracked/4}
	t.shelves[marked] = shelf{id: marked, max: cfg.Tracked / 4}
	return t, nil
}

// SetLists replaces both lists; nil is empty. What is counted stays. Sessions
// that are open learn of it at their next message.
func (t *Tracker) SetLists(allow, block *List) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allow, t.block = allow, block
}

// kind is how a client is treated.
type kind int

const (
	stranger kind = iota
	private
	exempt
	blocked
)

func (t *Tracker) kind(a netip.Addr) kind {
	if !a.IsValid() {
		return exempt
	}
	allow, block := listed(t.allow, t.block, a)
	switch {
	case block:
		return blocked
	case allow, a.IsLoopback() && !t.cfg.StrictLoopback:
		return exempt
	case a.IsPrivate(), a.IsLinkLocalUnicast():
		return private
	}
	return stranger
}

func (t *Tracker) factor(k kind) int {
	if k == private {
		return t.cfg.Lenience
	}
	return 1
}

// instant turns a time into one. The first is not zero, so that zero is past.
func (t *Tracker) instant(now time.Time) instant {
	if t.epoch.IsZero() {
		t.epoch = now.Add(-time.Second)
	}
	return min(max(instant(now.Sub(t.epoch)), -span), span)
}

// Connect admits a client that has connected from addr, or refuses it. addr is
// the zero value for a socket without addresses. With an admission comes a
// Session that the caller closes; with a refusal it is nil.
func (t *Tracker) Connect(addr netip.Addr, now time.Time) (*Session, Refusal) {
	addr = canonical(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.instant(now)
	k := t.kind(addr)
	if k == blocked {
		return nil, t.refuse(Blocked)
	}
	s := &Session{tracker: t, addr: addr, kind: k}
	if k == exempt {
		if t.cfg.Sessions >= 0 && t.sessions >= t.cfg.Sessions {
			return nil, t.refuse(Full)
		}
	} else {
		who := keysOf(addr)
		if why := t.judge(addr, who, k, at); why != "" {
			return nil, t.refuse(why)
		}
		s.host, s.net = t.use(who.addr, who.origin, at), t.use(who.net, who.origin, at)
		f := t.factor(k)
		s.host.conns.add(1, times(t.cfg.AddrConnects, f), time.Minute, at)
		s.net.conns.add(1, times(t.cfg.NetConnects, f), time.Minute, at)
		s.host.live++
		s.net.live++
		s.host.origin.live++
		if addr.Is6() {
			t.addrs[addr]++
		}
		s.pause = k == stranger && t.cfg.GreetPause > 0 && s.host.greeted <= at
	}
	t.sessions++
	t.peak = max(t.peak, t.sessions)
	t.admitted++
	return s, Refusal{}
}

// judge says why a client may not connect, or nothing.
func (t *Tracker) judge(addr netip.Addr, who keys, k kind, at instant) Reason {
	var unknown account // has used up nothing
	unknown.reset(at)
	host, net := t.accounts[who.addr], t.accounts[who.net]
	if host == nil {
		host = &unknown
	}
	if net == nil {
		net = &unknown
	}
	if t.isBanned(host, at) || t.isBanned(net, at) {
		return Banned
	}
	f := t.factor(k)
	// Both are asked in any case: a meter notices when it is asked that the clock
	// was set back.
	addrFits := host.conns.fits(1, times(t.cfg.AddrConnects, f), time.Minute, at)
	netFits := net.conns.fits(1, times(t.cfg.NetConnects, f), time.Minute, at)
	switch {
	case !addrFits:
		return AddrConnects
	case !netFits:
		return NetConnects
	}
	perAddr, perNet := times(t.cfg.AddrSessions, f), times(t.cfg.NetSessions, f)
	if addr.Is4() {
		switch {
		case host.live >= perAddr:
			return AddrSessions
		case net.live >= perNet:
			return NetSessions
		}
	} else {
		switch {
		case t.addrs[addr] >= perAddr:
			return AddrSessions
		case host.live >= perNet, net.live >= times(t.cfg.SiteSessions, f):
			return NetSessions
		}
	}
	if t.cfg.Sessions < 0 {
		return ""
	}
	free := t.cfg.Sessions - t.sessions
	if free <= 0 {
		return Full
	}
	if free <= t.cfg.Reserve {
		if o := t.origins[who.origin]; o != nil && o.live >= min(reserveShare, t.cfg.Sessions-t.cfg.Reserve) {
			return Reserved
		}
	}
	return ""
}

func (t *Tracker) refuse(why Reason) Refusal {
	t.refused[why]++
	return refusal(why)
}

// use takes an account off its shelf, or opens one.
func (t *Tracker) use(k, from key, at instant) *account {
	a := t.accounts[k]
	if a == nil {
		o := t.origins[from]
		if o == nil {
			o = &origin{key: from}
			t.origins[from] = o
		}
		o.accounts++
		a = &account{key: k, origin: o}
		a.reset(at)
		t.accounts[k] = a
	} else if a.shelf != nil {
		a.shelf.take(a)
	}
	a.uses++
	return a
}

// release puts an account on its shelf when nothing uses it any more.
func (t *Tracker) release(a *account, at instant) {
	if a.uses--; a.uses > 0 {
		return
	}
	a.forget(at, t.cfg.BanMax)
	if a.blank(at) {
		t.drop(a)
		return
	}
	s := t.shelfOf(a)
	if s.len >= s.max && at-t.swept >= instant(sweepEvery) {
		t.sweep(at)
	}
	s.put(a)
	t.trim(s)
}

// trim makes a shelf no longer than it may be.
func (t *Tracker) trim(s *shelf) {
	for v := s.victim(); v != nil; v = s.victim() {
		s.take(v)
		t.drop(v)
		t.evicted++
	}
}

func (t *Tracker) shelfOf(a *account) *shelf {
	if a.strikes > 0 {
		return &t.shelves[marked]
	}
	return &t.shelves[plain]
}

// drop lets go of an account that is on no shelf.
func (t *Tracker) drop(a *account) {
	delete(t.accounts, a.key)
	delete(t.banned, a)
	if a.origin.accounts--; a.origin.accounts == 0 {
		delete(t.origins, a.origin.key)
	}
}

// Sweep forgets what has lost its meaning: rates that are full again, bans that
// are forgotten. Nothing depends on it but the memory of a quiet server; once in
// ten minutes is enough.
func (t *Tracker) Sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(t.instant(now))
}

func (t *Tracker) sweep(at instant) {
	t.swept = at
	for _, a := range t.accounts {
		if a.shelf == nil {
			continue
		}
		a.forget(at, t.cfg.BanMax)
		if s := t.shelfOf(a); s == a.shelf && !a.blank(at) {
			continue
		}
		a.shelf.take(a)
		if a.blank(at) {
			t.drop(a)
		} else {
			t.shelfOf(a).put(a) // its bans are forgotten
		}
	}
	t.trim(&t.shelves[plain])
}
