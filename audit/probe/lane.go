package probe

import (
	"time"

	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// How often a port is tried. minTries is for every silent port; a target on
// which a later attempt has succeeded earns one more each time, up to the limit.
const (
	minTries     = 2
	defaultTries = 10
	maxFails     = 10      // own failures of one port
	maxBench     = 4 << 10 // silent ports of a target that may be tried again
)

// attempt is one port and what happened to it so far.
type attempt struct {
	port   uint16
	silent uint8 // attempts that stayed without an answer
	fails  uint8 // attempts that failed on our side
	last   record.Evidence
}

// lane is what is known about one target. It belongs to the engine's goroutine.
type lane struct {
	job    int
	target scope.Target
	ports  []record.PortRange // with fresh ports, in the order of their turns
	next   uint32             // the next fresh port of ports[0]; 0 when that range is untouched
	fresh  int                // ports that were never tried
	retry  []attempt
	// bench holds the ports that stayed silent often enough, until it is sure
	// that this target earns no further attempts.
	bench []attempt

	inFlight int
	window   window
	rtt      rtt
	pace     *pacer    // shared by the targets of one host
	answered bool      // anything but silence came back once
	luckiest int       // the highest attempt, from 0, that was answered
	lost     time.Time // when the window was last halved for a loss
	paused   time.Time
	strikes  int
	dead     string // why nothing more is sent; empty while something may be
	queued   bool   // the engine holds it in ready or timed
	finished bool

	// Open ports of an address of our own machine wait here until the end: two
	// of our own attempts can meet each other on loopback, each taking the
	// other for a listener (simultaneous open, RFC 9293 section 3.5).
	held map[uint16]uint16 // port -> source port of the attempt
}

// look is what a lane wants.
type look uint8

const (
	idle look = iota // nothing until a result arrives
	send
	wait // until the time given
)

func (l *lane) look(now time.Time) (look, time.Time) {
	if l.dead != "" || l.fresh+len(l.retry) == 0 || !l.window.room(l.inFlight) {
		return idle, time.Time{}
	}
	if l.paused.After(now) {
		return wait, l.paused
	}
	if t := l.pace.at(); t.After(now) {
		return wait, t
	}
	return send, now
}

// take returns the next attempt: those that were tried before go first, for what
// they teach about losses.
func (l *lane) take() attempt {
	l.inFlight++
	if len(l.retry) > 0 {
		a := l.retry[0]
		l.retry = l.retry[1:]
		return a
	}
	return attempt{port: l.takeFresh()}
}

func (l *lane) takeFresh() uint16 {
	r := l.ports[0]
	if l.next == 0 {
		l.next = uint32(r.First)
	}
	p := uint16(l.next)
	if p == r.Last {
		l.ports, l.next = l.ports[1:], 0
	} else {
		l.next++
	}
	l.fresh--
	return p
}

// tries is how many silent attempts settle a port of this target.
func (l *lane) tries(limit int) int { return min(minTries+l.luckiest, limit) }

// learn updates what is known about the road to the target.
func (l *lane) learn(now time.Time, a attempt, o Outcome, took time.Duration) {
	switch o.Kind {
	case Evident:
		l.answered = true
		l.strikes = 0
		l.rtt.sample(took)
		if a.silent > 0 {
			l.luckiest = max(l.luckiest, int(a.silent))
			// Losses of one round trip are one event (RFC 5681, section 3.2).
			if now.Sub(l.lost) > l.rtt.timeout(0) {
				l.lost = now
				l.window.lost()
			}
		} else {
			l.window.opened()
		}
	case Silent:
		l.strikes = 0
		if !l.answered {
			l.window.probing()
		}
	}
}

// mirrored reports whether an open port is one of our own attempts, seen from
// the other side.
func (l *lane) mirrored(port, source uint16) bool { return l.held[source] == port && port != 0 }

// settled reports whether nothing is left to do or to wait for.
func (l *lane) settled() bool {
	return l.inFlight == 0 && (l.dead != "" || l.fresh+len(l.retry) == 0)
}
