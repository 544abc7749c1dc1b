package admit

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config says what is allowed. Of every number and duration zero means the
// default, and a negative value switches the limit off, where nothing else is
// said.
type Config struct {
	Sessions int // open at once, over all clients; default 2000
	// Reserve is how many of Sessions only go to allocations (/16 of IPv4, /32 of
	// IPv6) that hold less than four; default a tenth of Sessions.
	Reserve int

	AddrSessions int // open at once from one address; default 30
	NetSessions  int // from one /24 of IPv4 or /64 of IPv6; default 100, or AddrSessions
	SiteSessions int // from one /48 of IPv6; default 200, or NetSessions

	AddrConnects int // new connections per minute, from an IPv4 address or a /64; default 300
	NetConnects  int // from a /24 or a /48; default 1200, or AddrConnects
	Messages     int // per hour, from an IPv4 address or a /64; default 10,000
	Recipients   int // per hour, from the same; default 50,000

	// Lenience is how many times as many clients of private networks may do;
	// default 20, 1 or negative: no more than anybody.
	Lenience int
	// StrictLoopback makes loopback clients strangers.
	StrictLoopback bool

	IdleCommands int           // commands in a session without a message; default 100
	Errors       int           // failures in a session without a message; default 20
	Delay        time.Duration // see Session.Fault: of the first answer that is delayed, doubling with each; default 1 s
	MaxDelay     time.Duration // longest; default 8 s; not to be switched off
	MinRate      int           // bytes per second of a message; default 500
	Stall        time.Duration // how long a message may stand still; default 3 min; not to be switched off
	GreetPause   time.Duration // before the greeting, for strangers; default 3 s

	// BanScore is how many points of failures, see Failure, end in a ban; default
	// 100. A whole /24 or /48 is banned at eight times as many.
	BanScore int
	BanDecay time.Duration // in which BanScore points are forgotten; default 1 h; not to be switched off
	BanFor   time.Duration // the first ban, doubling with each; default 10 min; not to be switched off
	BanMax   time.Duration // longest ban; default 24 h; not to be switched off

	// Tracked is how many addresses and networks without a session are
	// remembered; default 65,536 (some 15 MB), at least 64. It cannot be switched
	// off.
	Tracked int
}

const (
	netBanFactor  = 8 // a network is banned at that many times the points of an address
	reserveShare  = 4 // who holds less of the sessions may take a reserved place
	freeFailures  = 3 // of a session, before delays begin
	greetValid    = 24 * time.Hour
	maxLimit      = 1_000_000_000
	maxGreetPause = time.Minute
	maxDelay      = 2 * time.Minute // the client's own patience is 5 min (RFC 5321, section 4.5.3.2)
	maxDuration   = 366 * 24 * time.Hour
)

// Validate names every fault of c at once.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, v ...any) { errs = append(errs, fmt.Errorf(format, v...)) }
	for _, n := range []struct {
		name  string
		value int
	}{
		{"Sessions", c.Sessions}, {"Reserve", c.Reserve},
		{"AddrSessions", c.AddrSessions}, {"NetSessions", c.NetSessions}, {"SiteSessions", c.SiteSessions},
		{"AddrConnects", c.AddrConnects}, {"NetConnects", c.NetConnects},
		{"Messages", c.Messages}, {"Recipients", c.Recipients},
		{"IdleCommands", c.IdleCommands}, {"Errors", c.Errors}, {"MinRate", c.MinRate},
		{"BanScore", c.BanScore},
	} {
		if n.value > maxLimit {
			fault("%s: %d is over %d", n.name, n.value, maxLimit)
		}
	}
	for _, d := range []struct {
		name     string
		value    time.Duration
		most     time.Duration
		required bool
	}{
		{"Delay", c.Delay, maxDelay, false}, {"MaxDelay", c.MaxDelay, maxDelay, true},
		{"Stall", c.Stall, 24 * time.Hour, true}, {"GreetPause", c.GreetPause, maxGreetPause, false},
		{"BanDecay", c.BanDecay, maxDuration, true},
		{"BanFor", c.BanFor, maxDuration, true}, {"BanMax", c.BanMax, maxDuration, true},
	} {
		switch {
		case d.value > d.most:
			fault("%s: %v is over %v", d.name, d.value, d.most)
		case d.value < 0 && d.required:
			fault("%s: it cannot be switched off", d.name)
		case d.value > 0 && d.value < time.Millisecond:
			fault("%s: %v is under a millisecond", d.name, d.value)
		}
	}
	if c.Lenience > 1000 {
		fault("Lenience: %d is over 1000", c.Lenience)
	}
	if c.Tracked < 0 || c.Tracked > 0 && c.Tracked < 64 || c.Tracked > 1<<20 {
		fault("Tracked: %d is not between 64 and %d", c.Tracked, 1<<20)
	}
	if len(errs) == 0 {
		errs = append(errs, c.withDefaults().consistent())
	}
	return errors.Join(errs...)
}

// consistent compares the fields of a complete c with each other.
func (c Config) consistent() error {
	var errs []error
	order := func(small, large string, a, b int) {
		if a > b {
			errs = append(errs, fmt.Errorf("%s: %d is over %s, which is %d", small, a, large, b))
		}
	}
	if c.Sessions >= 0 && c.Reserve >= c.Sessions {
		errs = append(errs, fmt.Errorf("%s: %d leaves nothing of Sessions, which is %d", "Reserve", c.Reserve, c.Sessions))
	}
	if c.AddrSessions > 0 && c.NetSessions > 0 {
		order("AddrSessions", "NetSessions", c.AddrSessions, c.NetSessions)
	}
	if c.NetSessions > 0 && c.SiteSessions > 0 {
		order("NetSessions", "SiteSessions", c.NetSessions, c.SiteSessions)
	}
	if c.AddrConnects > 0 && c.NetConnects > 0 {
		order("AddrConnects", "NetConnects", c.AddrConnects, c.NetConnects)
	}
	if c.Delay > c.MaxDelay {
		errs = append(errs, fmt.Errorf("%s: %v is over MaxDelay, which is %v", "Delay", c.Delay, c.MaxDelay))
	}
	if c.BanFor > c.BanMax {
		errs = append(errs, fmt.Errorf("%s: %v is over BanMax, which is %v", "BanFor", c.BanFor, c.BanMax))
	}
	return errors.Join(errs...)
}

// withDefaults fills in what is zero. A default gives way to what was set.
func (c Config) withDefaults() Config {
	number := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	duration := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	number(&c.Sessions, 2000)
	number(&c.Reserve, max(c.Sessions/10, 0))
	number(&c.AddrSessions, 30)
	number(&c.NetSessions, max(100, c.AddrSessions))
	number(&c.SiteSessions, max(200, c.NetSessions))
	number(&c.AddrConnects, 300)
	number(&c.NetConnects, max(1200, c.AddrConnects))
	number(&c.Messages, 10_000)
	number(&c.Recipients, 50_000)
	number(&c.Lenience, 20)
	number(&c.IdleCommands, 100)
	number(&c.Errors, 20)
	number(&c.MinRate, 500)
	number(&c.BanScore, 100)
	number(&c.Tracked, 1<<16)
	switch {
	case c.Delay == 0 && c.MaxDelay > 0:
		c.Delay = min(time.Second, c.MaxDelay)
	case c.Delay == 0:
		c.Delay = time.Second
	}
	duration(&c.MaxDelay, max(8*time.Second, c.Delay))
	duration(&c.Stall, 3*time.Minute)
	duration(&c.GreetPause, 3*time.Second)
	duration(&c.BanDecay, time.Hour)
	switch {
	case c.BanFor == 0 && c.BanMax > 0:
		c.BanFor = min(10*time.Minute, c.BanMax)
	case c.BanFor == 0:
		c.BanFor = 10 * time.Minute
	}
	duration(&c.BanMax, max(24*time.Hour, c.BanFor))
	c.Reserve = max(c.Reserve, 0)
	c.Lenience = max(c.Lenience, 1)
	return c
}

// unlimited is the count of a limit that is switched off.
const unlimited = math.MaxInt

// times is limit, off when negative, for a client that may do factor times as
// much.
func times(limit, factor int) int {
	if limit < 0 || limit > unlimited/factor {
		return unlimited
	}
	return limit * factor
}
