package smtpd

import (
	"slices"
	"sync"

	"postern.example/smtpd/inbox"
	"postern.example/smtpd/store"
)

const (
	// recentSessions is how many that ended are remembered.
	recentSessions = 256
	maxSessionIDs  = 100 // messages listed for one session
	maxPending     = 4096
)

// recent remembers the sessions that ended last, refused ones included, and the
// replies to messages that are not yet with their transcripts in the store. The
// zero value is ready; safe for concurrent use.
type recent struct {
	mu      sync.Mutex
	ended   []inbox.Session // a ring once it is full
	at      int
	tails   map[int64][]byte // by position of the message
	replied chan struct{}    // one slot: there are new tails
}

func newRecent() *recent {
	return &recent{tails: map[int64][]byte{}, replied: make(chan struct{}, 1)}
}

func (r *recent) add(s inbox.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ended) < recentSessions {
		r.ended = append(r.ended, s)
		return
	}
	r.ended[r.at] = s
	r.at = (r.at + 1) % recentSessions
}

// list returns them, the last to end first.
func (r *recent) list() []inbox.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(slices.Clone(r.ended[r.at:]), r.ended[:r.at]...)
	slices.Reverse(all)
	return all
}

// reply keeps the end of a message's transcript, which was said after the
// message was stored. When too many wait, it is let go: the message's own lines
// are safe.
func (r *recent) reply(seq int64, tail []byte) {
	r.mu.Lock()
	if len(r.tails) < maxPending {
		r.tails[seq] = tail
	}
	r.mu.Unlock()
	select {
	case r.replied <- struct{}{}:
	default:
	}
}

// tail returns the end of a transcript that is not in the store yet.
func (r *recent) tail(seq int64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tails[seq]
}

// pending returns all ends; done forgets them.
func (r *recent) pending() map[int64][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[int64][]byte, len(r.tails))
	for seq, tail := range r.tails {
		all[seq] = tail
	}
	return all
}

func (r *recent) done(tails map[int64][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for seq := range tails {
		delete(r.tails, seq)
	}
}

// record is what is remembered of a session.
func (g *gate) record() inbox.Session {
	s := inbox.Session{
		ID: store.NewID(g.log.start), Listener: string(g.role), Remote: g.RemoteAddr().String(),
		Started: g.log.start.UTC(), Ended: g.log.now().UTC(), Helo: g.helo, User: g.user,
		Messages: g.accepted, Refused: g.log.refused, Transcript: g.log.session.list, LinesLeftOut: g.log.session.cut,
	}
	if g.secure != nil {
		s.TLS = tlsName(*g.secure)
	}
	if g.cause != nil && g.cause != errDone {
		s.Cause = g.cause.Error()
	}
	return s
}
