package wire

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"time"

	"postern.example/mailclient/address"
)

// TLSMode says when a conversation over SMTP is encrypted. SMTPS always is.
type TLSMode string

const (
	// TLSAuto takes STARTTLS up when it is offered. The certificate is verified
	// unless the server is on loopback and no Roots are given. An offer that
	// then fails is an error, never a reason to go on in the clear. A Unix
	// socket stays as it is.
	TLSAuto TLSMode = "auto"
	// TLSRequire fails without STARTTLS, and verifies wherever the server is.
	TLSRequire TLSMode = "require"
	// TLSOff never asks for it.
	TLSOff TLSMode = "off"
)

// Config says how a conversation is held. The zero value works.
type Config struct {
	Hello    string         // name given in EHLO; "" is "localhost", which tells nothing about this machine
	TLS      TLSMode        // "" is TLSAuto
	Roots    *x509.CertPool // nil: those of the system
	Insecure bool           // take any certificate
	User     string         // "": no AUTH
	Password string
	Network  string   // "tcp", "tcp4" or "tcp6"; "" is "tcp"
	Timeouts Timeouts // zero fields: RFC 5321 section 4.5.3.2
	// Trace is told every event, in order, from the goroutine that holds the
	// conversation.
	Trace func(Event)
	// Dial opens a connection to an address, never to a name; nil is
	// net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Lookup turns a name into addresses; network is "ip", "ip4" or "ip6"; nil
	// is net.DefaultResolver's.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Timeouts bound each step of a conversation.
type Timeouts struct {
	Connect  time.Duration // look-up, and TCP to all addresses together
	TLS      time.Duration // handshake
	Greeting time.Duration
	Command  time.Duration // each reply, and each write of commands
	Data     time.Duration // reply to DATA
	Block    time.Duration // each write of a part of the message
	End      time.Duration // reply to the end of the message
}

// Within is the Timeouts with d for each step.
func Within(d time.Duration) Timeouts {
	return Timeouts{Connect: d, TLS: d, Greeting: d, Command: d, Data: d, Block: d, End: d}
}

func (t Timeouts) filled() Timeouts {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.TLS, time.Minute)
	set(&t.Greeting, 5*time.Minute)
	set(&t.Command, 5*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Block, 3*time.Minute)
	set(&t.End, 10*time.Minute)
	return t
}

// check fills the defaults in and refuses what cannot go into a command.
func (c *Config) check(srv Server) *Error {
	c.Timeouts = c.Timeouts.filled()
	if c.Hello == "" {
		c.Hello = "localhost"
	}
	if c.Network == "" {
		c.Network = "tcp"
	}
	if c.TLS == "" {
		c.TLS = TLSAuto
	}
	switch c.TLS {
	case TLSAuto, TLSRequire, TLSOff:
	default:
		return badInput(StageConnect, "the TLS mode is none of auto, require, off")
	}
	switch c.Network {
	case "tcp", "tcp4", "tcp6":
	default:
		return badInput(StageConnect, "the network is none of tcp, tcp4, tcp6")
	}
	switch srv.Scheme {
	case SMTP, LMTP:
	case SMTPS:
		if c.TLS == TLSOff {
			return badInput(StageConnect, "smtps is TLS from the first byte, which is switched off")
		}
	default:
		return badInput(StageConnect, "no server to connect to")
	}
	// The domain of an address has the grammar that RFC 5321 wants here.
	if _, err := address.Parse("x@" + c.Hello); err != nil || strings.ContainsFunc(c.Hello, func(r rune) bool { return r >= 0x80 }) {
		return badInput(StageHello, "the EHLO name %s is neither a host name nor an address literal", quote(c.Hello, 80))
	}
	if strings.ContainsRune(c.User, 0) || strings.ContainsRune(c.Password, 0) {
		return badInput(StageAuth, "user and password may not hold NUL")
	}
	if len(c.User) > maxSecret || len(c.Password) > maxSecret {
		return badInput(StageAuth, "user and password may have %d octets each", maxSecret)
	}
	return nil
}
