package scope

import (
	"net"
	"net/netip"
	"syscall"
)

// Divert makes w dial what f returns. Nothing but the last check, the one
// between socket() and connect(), then stands between a target and f's address.
func Divert(w *Wall, f func(address string) string) { w.divert = f }

// CauseOf is the table behind Failure.Cause.
func CauseOf(errno syscall.Errno) Cause { return causeOf(errno) }

// OurOwn reports whether m is this machine's own word about target.
func OurOwn(target, local netip.Addr, m *ICMP) bool { return new(own).ourOwn(target, local, m) }

// Self reports whether c is connected to itself.
func Self(c *net.TCPConn) bool { return (&Conn{c}).self() }
