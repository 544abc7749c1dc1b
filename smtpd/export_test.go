package smtpd

import "time"

// Limits opens the bounds of a session to tests, which cannot wait for minutes.
type Limits struct {
	Command, Data, Drain, Linger time.Duration
	Discard                      int64
	Clients                      int
}

// WithLimits returns c with the given bounds; zero fields keep their defaults.
func (c Config) WithLimits(l Limits) Config {
	c.limit = limits{
		command: l.Command, data: l.Data, drain: l.Drain, linger: l.Linger,
		discard: l.Discard, clients: l.Clients,
	}
	return c
}

// WithClock returns c with a clock of the test's.
func (c Config) WithClock(now func() time.Time) Config {
	c.now = now
	return c
}
