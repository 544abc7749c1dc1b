package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Dial opens a conversation with srv and brings it to where messages can be
// sent. An error is an *Error, and leaves nothing open.
func Dial(ctx context.Context, srv Server, cfg Config) (*Conn, error) {
	if err := cfg.check(srv); err != nil {
		return nil, err
	}
	c := &Conn{cfg: cfg, srv: srv, start: time.Now()}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) begin(ctx context.Context) *Error {
	defer c.guard(ctx)()
	if c.srv.Scheme == SMTPS {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	if err := c.greeting(ctx); err != nil {
		return err
	}
	if err := c.hello(ctx); err != nil {
		return err
	}
	if err := c.upgrade(ctx); err != nil {
		return err
	}
	return c.auth(ctx)
}

// connect tries the addresses of the server one after the other; each gets an
// equal part of the time that is left.
func (c *Conn) connect(ctx context.Context) *Error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Connect)
	defer cancel()
	if c.srv.Scheme == LMTP {
		conn, err := c.dialOne(ctx, "unix", c.srv.Path)
		if err != nil {
			return err
		}
		c.use(conn, true)
		return nil
	}
	addrs, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	end, _ := ctx.Deadline()
	var last *Error
	for i, a := range addrs {
		share := time.Until(end) / time.Duration(len(addrs)-i)
		one, cancel := context.WithTimeout(ctx, share)
		conn, err := c.dialOne(one, c.cfg.Network, net.JoinHostPort(a.String(), strconv.Itoa(int(c.srv.Port))))
		cancel()
		if err == nil {
			c.use(conn, a.IsLoopback())
			return nil
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return last
}

func (c *Conn) use(conn net.Conn, local bool) {
	c.conn, c.local = conn, local
	c.r = bufio.NewReaderSize(conn, maxReplyLine)
}

func (c *Conn) dialOne(ctx context.Context, network, addr string) (net.Conn, *Error) {
	dial := c.cfg.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	began := time.Now()
	conn, err := dial(ctx, network, addr)
	e := Event{From: Network, Kind: Connect, Verb: network, Text: addr, Took: max(time.Since(began), 1)}
	if err != nil {
		failed := ioError(ctx, StageConnect, err)
		// The address and the verb stand in our own text.
		if inner := (*net.OpError)(nil); failed.Err == err && errors.As(err, &inner) {
			failed.Err = inner.Err
		}
		if inner := (*os.SyscallError)(nil); errors.As(failed.Err, &inner) {
			failed.Err = inner.Err
		}
		failed.Err = fmt.Errorf("connect to %s: %w", addr, failed.Err)
		e.Text, e.Failed = failed.Err.Error(), true
		c.emit(e)
		return nil, failed
	}
	c.emit(e)
	return conn, nil
}

func (c *Conn) resolve(ctx context.Context) ([]netip.Addr, *Error) {
	ipNet := strings.Replace(c.cfg.Network, "tcp", "ip", 1)
	if a, err := netip.ParseAddr(c.srv.Host); err == nil {
		a = a.Unmap()
		switch {
		case ipNet == "ip4" && !a.Is4():
			return nil, badInput(StageResolve, "%s is an IPv6 address, and only IPv4 was asked for", a)
		case ipNet == "ip6" && !a.Is6():
			return nil, badInput(StageResolve, "%s is an IPv4 address, and only IPv6 was asked for", a)
		}
		return []netip.Addr{a}, nil
	}
	lookup := c.cfg.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	began := time.Now()
	addrs, err := lookup(ctx, ipNet, c.srv.Host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no addresses")
	}
	e := Event{From: Network, Kind: Resolve, Took: max(time.Since(began), 1)}
	if err != nil {
		failed := ioError(ctx, StageResolve, err)
		if inner := (*net.DNSError)(nil); errors.As(failed.Err, &inner) {
			failed.Err = errors.New(inner.Err)
		}
		failed.Err = fmt.Errorf("resolve %s: %w", c.srv.Host, failed.Err)
		e.Text, e.Failed = failed.Err.Error(), true
		c.emit(e)
		return nil, failed
	}
	const most = 16 // a name with more is not served better by trying them all
	addrs = addrs[:min(len(addrs), most)]
	names := make([]string, len(addrs))
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
		names[i] = addrs[i].String()
	}
	e.Text = c.srv.Host + " is " + strings.Join(names, ", ")
	c.emit(e)
	return addrs, nil
}
