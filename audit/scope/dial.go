package scope

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// maxDial bounds every attempt, whatever the caller asks for.
const maxDial = 30 * time.Second

// Dial opens a TCP connection to a port of t. It gives up after timeout (at most
// 30 s, which is also meant by 0) or when ctx ends. The error is a [*Failure].
// The caller closes the Conn.
func (w *Wall) Dial(ctx context.Context, t Target, port uint16, timeout time.Duration) (*Conn, error) {
	if w == nil || t.wall != w {
		return nil, &Failure{Cause: Outside, Err: &Refusal{Addr: t.addr, Reason: "not a target of this scope"}}
	}
	if err := w.Check(t.addr); err != nil {
		return nil, &Failure{Cause: Outside, Err: err}
	}
	if port == 0 {
		return nil, &Failure{Cause: Outside, Err: &Refusal{Addr: t.addr, Reason: "port 0"}}
	}
	if timeout <= 0 || timeout > maxDial {
		timeout = maxDial
	}
	network := "tcp6"
	if t.addr.Is4() {
		network = "tcp4"
	}
	want := netip.AddrPortFrom(t.addr, port)
	address := want.String()
	if w.divert != nil {
		address = w.divert(address)
	}
	q := errQueue{fd: -1}
	defer q.close()
	d := net.Dialer{
		// No LocalAddr: bind() would take a port of its own for every attempt
		// and run out of them, where connect() shares ports between targets.
		Timeout:   timeout,
		KeepAlive: -1,
		ControlContext: func(_ context.Context, network, address string, c syscall.RawConn) error {
			if err := w.checkFinal(want, network, address); err != nil {
				return err
			}
			return q.arm(c, want.Addr().Is6())
		},
	}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, w.failure(ctx, t.addr, err, &q)
	}
	conn := &Conn{tcp: c.(*net.TCPConn)}
	if conn.self() {
		conn.Close()
		return nil, &Failure{Cause: SelfConnect, Err: fmt.Errorf("dial %v: connected to itself", want)}
	}
	return conn, nil
}

// checkFinal is the last word, spoken between socket() and connect() about the
// address that the kernel gets.
func (w *Wall) checkFinal(want netip.AddrPort, network, address string) error {
	got, err := netip.ParseAddrPort(address)
	if err != nil {
		return &Refusal{Reason: fmt.Sprintf("the dialer was about to use %q", address)}
	}
	got = netip.AddrPortFrom(got.Addr().Unmap(), got.Port())
	if network != "tcp4" && network != "tcp6" {
		return &Refusal{Addr: got.Addr(), Reason: fmt.Sprintf("the dialer was about to use %q", network)}
	}
	if err := w.Check(got.Addr()); err != nil {
		return err
	}
	if got != want {
		return &Refusal{Addr: got.Addr(), Reason: fmt.Sprintf("the dialer was about to use %v instead of %v", got, want)}
	}
	return nil
}

// failure sorts an error of the dialer.
func (w *Wall) failure(ctx context.Context, target netip.Addr, err error, q *errQueue) *Failure {
	f := &Failure{Err: err, Blind: q.blind()}
	var refusal *Refusal
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &refusal):
		f.Cause, f.Err = Outside, refusal
		return f
	case errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled):
		f.Cause = Canceled
		return f
	}
	local := q.local()
	f.ICMP = q.read()
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		f.Cause = causeOf(errno)
	} else if errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		f.Cause = TimedOut
	} else {
		f.Cause = Other
	}
	switch {
	case f.ICMP != nil && w.own.ourOwn(target, local, f.ICMP):
		f.Cause, f.Err = Denied, fmt.Errorf("this machine's own firewall rejects it: %w", err)
	case f.ICMP != nil && f.Cause != Refused:
		// EACCES, ENETUNREACH and others are ours only when no message stands
		// behind them.
		f.Cause = Unreachable
	case f.ICMP == nil && f.Cause == Unreachable && !f.Blind:
		// The kernel shows every message here. There was none, so the answer
		// is its own.
		f.Cause = NoRoute
	}
	return f
}

// Conn is a connection to a Target. Its methods may be called concurrently.
type Conn struct{ tcp *net.TCPConn }

// Read reads what the target sent.
func (c *Conn) Read(p []byte) (int, error) { return c.tcp.Read(p) }

// Write sends p to the target.
func (c *Conn) Write(p []byte) (int, error) { return c.tcp.Write(p) }

// SetDeadline bounds every later Read and Write.
func (c *Conn) SetDeadline(t time.Time) error { return c.tcp.SetDeadline(t) }

// LocalAddr returns our end.
func (c *Conn) LocalAddr() netip.AddrPort { return addrPort(c.tcp.LocalAddr()) }

// RemoteAddr returns the target's end.
func (c *Conn) RemoteAddr() netip.AddrPort { return addrPort(c.tcp.RemoteAddr()) }

// self reports whether both ends are one: the kernel picked the very port we probe
// as the source, and the SYN met itself (RFC 9293, section 3.5). Nobody listens
// there. The dialer tries again by itself, but only twice.
func (c *Conn) self() bool { return c.LocalAddr() == c.RemoteAddr() }

// Close ends the connection with an RST and frees it at once.
func (c *Conn) Close() error {
	err := c.tcp.SetLinger(0)
	return errors.Join(err, c.tcp.Close())
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
