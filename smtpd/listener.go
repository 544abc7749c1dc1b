package smtpd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// oneConn is a listener with one connection to give. Accept then waits until
// that is closed, so that Serve lasts as long as the session.
type oneConn struct {
	conn *gate
	once sync.Once
	done chan struct{}
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (net.Conn, error) {
	var first bool
	l.once.Do(func() { first = true })
	if first {
		return &closeNotice{gate: l.conn, done: l.done}, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *oneConn) Close() error { return nil }

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// closeNotice tells when the connection has been closed.
type closeNotice struct {
	*gate
	once sync.Once
	done chan struct{}
}

// Close implements net.Conn.
func (c *closeNotice) Close() error {
	err := c.gate.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

// sessions are the clients being served. The zero value is ready.
type sessions struct {
	mu      sync.Mutex
	gates   map[*gate]struct{}
	drainBy time.Time // set once the server drains
	wg      sync.WaitGroup
}

// add takes a client in, unless the server drains.
func (s *sessions) add(g *gate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.drainBy.IsZero() {
		return false
	}
	if s.gates == nil {
		s.gates = map[*gate]struct{}{}
	}
	s.gates[g] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gates)
}

func (s *sessions) remove(g *gate) {
	s.mu.Lock()
	delete(s.gates, g)
	s.mu.Unlock()
	s.wg.Done()
}

// drain ends all sessions and waits for them, for those that do not end by
// themselves no longer than a little over the given time.
func (s *sessions) drain(by time.Time) {
	s.mu.Lock()
	s.drainBy = by
	for g := range s.gates {
		g.drain(by)
	}
	s.mu.Unlock()
	last := time.AfterFunc(time.Until(by)+drainLinger+time.Second/2, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for g := range s.gates {
			g.raw.Close()
		}
	})
	defer last.Stop()
	s.wg.Wait()
}

// accept takes connections until l is closed. It waits for nothing but the
// next one: no look-up, no greeting, no reply.
func (s *Server) accept(ctx context.Context, e endpoint) error {
	for wait := time.Duration(0); ; {
		c, err := e.Accept()
		switch {
		case err == nil:
			wait = 0
			s.admit(c, e.policy)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default:
			// Out of files or of memory: that passes.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.cfg.Log.Error("accept", "cause", err, "again_in", wait)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// Reach says who can connect to an address that a listener is bound to.
func Reach(a net.Addr) string {
	if _, ok := a.(*net.UnixAddr); ok {
		return "this machine"
	}
	ap, err := netip.ParseAddrPort(a.String())
	switch ip := ap.Addr().Unmap(); {
	case err != nil:
		return "anyone" // who knows
	case ip.IsLoopback():
		return "this machine"
	case ip.IsPrivate() || ip.IsLinkLocalUnicast():
		return "this network"
	}
	return "anyone"
}
