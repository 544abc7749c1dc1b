package smtpd

import "time"

// Limits opens the bounds of a session to tests, which cannot wait for minutes.
type Limits struct {
	Command, Data, Drain, Linger, Write time.Duration
	Discard                             int64
	Clients                             int
}

// WithLimits returns c with the given bounds; zero fields keep their defaults.
func (c Config) WithLimits(l Limits) Config {
	c.limit = limits{
		command: l.Command, drain: l.Drain, linger: l.Linger, write: l.Write, discard: l.Discard,
	}
	c.Admit.Stall, c.Admit.Sessions = l.Data, l.Clients
	return c
}

// WithClock returns c with a clock of the test's.
func (c Config) WithClock(now func() time.Time) Config {
	c.now = now
	return c
}

// Stored is how many messages the store of a running server holds.
func Stored(s *Server) int64 {
	n, _ := s.store.Totals()
	return n
}
