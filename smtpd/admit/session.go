package admit

import (
	"net/netip"
	"time"
)

// Session is one admitted client: its budgets, and its share of what its address
// and network may do. It is safe for concurrent use. Close it.
type Session struct {
	tracker *Tracker
	addr    netip.Addr
	kind    kind
	host    *account // nil when exempt
	net     *account
	pause   bool
	errors  int
	idle    int
	closed  bool
}

// Verdict is what to do about a failure: wait for Delay, answer, and when
// Refusal is not zero, answer with that and close.
type Verdict struct {
	Delay   time.Duration
	Refusal Refusal
}

// Exempt tells whether no caps, rates, greet pause, delays and bans apply.
func (s *Session) Exempt() bool { return s.kind == exempt }

// GreetPause is how long to wait with the greeting, to see whether the client
// speaks first, which RFC 5321, section 3.1, forbids. A stranger that has waited
// once need not do so again for a day.
func (s *Session) GreetPause() time.Duration {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	if !s.pause {
		return 0
	}
	return s.tracker.cfg.GreetPause
}

// Greeted ends the pause: early tells whether the client spoke in it, which is a
// failure and refused. Without a pause there is nothing to be early for, and
// nothing happens.
func (s *Session) Greeted(early bool, now time.Time) Refusal {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.pause || s.closed {
		return Refusal{}
	}
	s.pause = false
	at := t.instant(now)
	if !early {
		s.host.greeted = at.add(greetValid)
		return Refusal{}
	}
	t.charge(s.host, s.net, SpokeEarly, t.factor(s.kind), at)
	return t.refuse(EarlyTalker)
}

// Command notes a command that brings no message nearer: NOOP, RSET, VRFY, HELP,
// EHLO, MAIL, STARTTLS, AUTH and all that fail; RCPT, DATA and BDAT, when they
// are accepted, are none. Too many in a row are refused.
func (s *Session) Command() Refusal {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.idle++; t.cfg.IdleCommands >= 0 && s.idle > t.cfg.IdleCommands {
		return t.refuse(NoProgress)
	}
	return Refusal{}
}

// Progress notes that a message was accepted: the session's budgets of errors
// and commands are full again. What the address did wrong is not forgotten.
func (s *Session) Progress() {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	s.errors, s.idle = 0, 0
}

// Fault notes a failure. From the fourth of a session the answer is to be
// delayed, longer with each; a stranger's from the first that is a wrong
// password, and from the first at all when the address is an eighth on its way
// to a ban, so that a new connection does not begin anew. In private networks
// only wrong passwords are slowed down. Too many failures in a session are
// refused, and so is who is banned for them.
func (s *Session) Fault(f Failure, now time.Time) Verdict {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.closed {
		return Verdict{}
	}
	s.errors++
	var v Verdict
	if s.kind != exempt {
		at := t.instant(now)
		known := int(8 * s.host.score.level(at, t.cfg.BanDecay) / t.cfg.BanDecay)
		t.charge(s.host, s.net, f, t.factor(s.kind), at)
		steps := max(s.errors-freeFailures, known)
		switch {
		case s.kind == stranger && f == AuthFailed:
			steps = max(s.errors, known)
		case s.kind == private && f != AuthFailed:
			steps = 0
		}
		v.Delay = t.delay(steps)
		if t.isBanned(s.host, at) || t.isBanned(s.net, at) {
			v.Refusal = t.refuse(Banned)
			return v
		}
	}
	if t.cfg.Errors >= 0 && s.errors > t.cfg.Errors {
		v.Refusal = t.refuse(Errors)
	}
	return v
}

// delay is MaxDelay at most.
func (t *Tracker) delay(steps int) time.Duration {
	if steps <= 0 || t.cfg.Delay < 0 {
		return 0
	}
	d := t.cfg.Delay
	for range steps - 1 {
		if d *= 2; d >= t.cfg.MaxDelay {
			return t.cfg.MaxDelay
		}
	}
	return d
}

// Message asks for one more message, at MAIL, and counts it when it may come.
// A client that has been put on the block list or banned since it connected is
// refused here.
func (s *Session) Message(now time.Time) Refusal {
	return s.spend(now, Messages, 1)
}

// Recipients asks for n more recipients, and counts them when they may come.
func (s *Session) Recipients(n int, now time.Time) Refusal {
	return s.spend(now, Recipients, n)
}

func (s *Session) spend(now time.Time, what Reason, n int) Refusal {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.closed {
		return Refusal{}
	}
	at := t.instant(now)
	k := t.kind(s.addr)
	if k == blocked {
		return t.refuse(Blocked)
	}
	if s.host == nil || k == exempt {
		return Refusal{}
	}
	if t.isBanned(s.host, at) || t.isBanned(s.net, at) {
		return t.refuse(Banned)
	}
	m, limit := &s.host.msgs, t.cfg.Messages
	if what == Recipients {
		m, limit = &s.host.rcpts, t.cfg.Recipients
	}
	limit = times(limit, t.factor(k))
	if !m.fits(n, limit, time.Hour, at) {
		return t.refuse(what)
	}
	m.add(n, limit, time.Hour, at)
	return Refusal{}
}

// Pace is for the body of a message that begins at now.
func (s *Session) Pace(now time.Time) Pace {
	return NewPace(s.tracker.cfg.MinRate, s.tracker.cfg.Stall, now)
}

// TooSlow is the answer to who missed the deadline of a Pace.
func (s *Session) TooSlow() Refusal {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	return s.tracker.refuse(TooSlow)
}

// Close gives the session's places back. Further calls do nothing.
func (s *Session) Close(now time.Time) {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	t.sessions--
	if s.host == nil {
		return
	}
	if s.addr.Is6() {
		if t.addrs[s.addr]--; t.addrs[s.addr] <= 0 {
			delete(t.addrs, s.addr)
		}
	}
	s.host.live--
	s.net.live--
	s.host.origin.live--
	at := t.instant(now)
	t.release(s.host, at)
	t.release(s.net, at)
}
