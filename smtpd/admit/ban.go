package admit

import (
	"net/netip"
	"time"
)

// Failure is what a client did wrong, and String its label for a metric.
type Failure int

// Failures, with the points that they are worth out of the 100 that
// Config.BanScore is by default.
const (
	AuthFailed       Failure = iota // a wrong password or user: 10 points
	SpokeEarly                      // before the greeting: 8
	UnknownRecipient                // 3
	ProtocolError                   // a wrong command, sequence or line ending: 2
	AfterRefusal                    // a command after 554 or 421: 1
)

// String implements fmt.Stringer.
func (f Failure) String() string {
	switch f {
	case AuthFailed:
		return "auth"
	case SpokeEarly:
		return "early"
	case UnknownRecipient:
		return "recipient"
	case ProtocolError:
		return "protocol"
	case AfterRefusal:
		return "after-refusal"
	}
	return "unknown"
}

func (f Failure) points() int {
	switch f {
	case AuthFailed:
		return 10
	case SpokeEarly:
		return 8
	case UnknownRecipient:
		return 3
	case ProtocolError:
		return 2
	}
	return 1
}

// Fault notes a failure of a client that has no Session, as it was refused.
func (t *Tracker) Fault(addr netip.Addr, f Failure, now time.Time) {
	addr = canonical(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kind(addr)
	if k == exempt || !addr.IsValid() {
		return
	}
	at, who := t.instant(now), keysOf(addr)
	host, net := t.use(who.addr, who.origin, at), t.use(who.net, who.origin, at)
	t.charge(host, net, f, t.factor(k), at)
	t.release(host, at)
	t.release(net, at)
}

// IsBanned tells whether addr is banned at now, itself or with its network.
func (t *Tracker) IsBanned(addr netip.Addr, now time.Time) bool {
	addr = canonical(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.kind(addr); k == exempt || !addr.IsValid() {
		return false
	}
	at, who := t.instant(now), keysOf(addr)
	for _, k := range []key{who.addr, who.net} {
		if a := t.accounts[k]; a != nil && t.isBanned(a, at) {
			return true
		}
	}
	return false
}

// charge adds the points of a failure to a client and its network, and bans who
// has too many.
func (t *Tracker) charge(host, net *account, f Failure, factor int, at instant) {
	// What a banned client does is refused anyway. Were it counted, one that keeps
	// knocking would take its whole network with it.
	if t.cfg.BanScore < 0 || t.isBanned(host, at) || t.isBanned(net, at) {
		return
	}
	for _, a := range []struct {
		*account
		limit int
	}{
		{host, times(t.cfg.BanScore, factor)},
		{net, times(t.cfg.BanScore, factor*netBanFactor)},
	} {
		a.score.add(f.points(), a.limit, t.cfg.BanDecay, at)
		if a.score.level(at, t.cfg.BanDecay)+slack >= t.cfg.BanDecay {
			t.ban(a.account, at)
		}
	}
}

func (t *Tracker) ban(a *account, at instant) {
	a.forget(at, t.cfg.BanMax)
	length := t.cfg.BanFor
	for range a.strikes {
		if length *= 2; length >= t.cfg.BanMax {
			length = t.cfg.BanMax
			break
		}
	}
	a.ban, a.score = at.add(length), meter(at)
	a.strikes = min(a.strikes+1, 32)
	t.bans++
	t.banned[a] = struct{}{}
}

// isBanned tells whether a is banned. After the clock was set back, a ban lasts
// no longer than one of full length from now.
func (t *Tracker) isBanned(a *account, at instant) bool {
	if a.ban <= at {
		delete(t.banned, a)
		return false
	}
	if a.strikes == 0 {
		return false
	}
	a.ban = min(a.ban, at.add(t.cfg.BanMax))
	return true
}
