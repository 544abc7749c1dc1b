package scope_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"postern.example/audit/scope"
)

// listen opens a listener on a free port of host, or skips where the machine
// has no such address.
func listen(t *testing.T, host string) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("needs the address %s on this machine: %v", host, err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener), l.Addr().(*net.TCPAddr).AddrPort()
}

func target(t *testing.T, w *scope.Wall, a netip.Addr) scope.Target {
	t.Helper()
	tg, err := w.Target(a)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func cause(err error) scope.Cause {
	var f *scope.Failure
	if errors.As(err, &f) {
		return f.Cause
	}
	return ""
}

func TestDialOpen(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			l, at := listen(t, host)
			w := wall(t, nil, []string{"127.0.0.0/8", "::1"})
			c, err := w.Dial(t.Context(), target(t, w, at.Addr()), at.Port(), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if c.RemoteAddr() != at {
				t.Errorf("connected to %v, want %v", c.RemoteAddr(), at)
			}
			peer, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			// Linger 0: the peer sees a reset, not an orderly end. What was
			// written may or may not arrive first.
			buf := make([]byte, 8)
			for err == nil {
				_, err = peer.Read(buf)
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("the peer read %v, want a reset", err)
			}
		})
	}
}

func TestDialClosed(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			l, at := listen(t, host)
			l.Close()
			w := wall(t, nil, []string{"127.0.0.0/8", "::1"})
			_, err := w.Dial(t.Context(), target(t, w, at.Addr()), at.Port(), 5*time.Second)
			var f *scope.Failure
			if !errors.As(err, &f) || f.Cause != scope.Refused || f.ICMP != nil {
				t.Errorf("a closed port gives %v", err)
			}
		})
	}
}

func TestDialRefusesStrangers(t *testing.T) {
	_, at := listen(t, "127.0.0.1")
	w := wall(t, nil, []string{"127.0.0.0/8"})
	twin := wall(t, nil, []string{"127.0.0.0/8"})
	for name, dial := range map[string]func() (*scope.Conn, error){
		"zero target": func() (*scope.Conn, error) { return w.Dial(t.Context(), scope.Target{}, at.Port(), time.Second) },
		"another wall's target": func() (*scope.Conn, error) {
			return w.Dial(t.Context(), target(t, twin, at.Addr()), at.Port(), time.Second)
		},
		"port 0": func() (*scope.Conn, error) { return w.Dial(t.Context(), target(t, w, at.Addr()), 0, time.Second) },
		"no wall": func() (*scope.Conn, error) {
			var none *scope.Wall
			return none.Dial(t.Context(), scope.Target{}, at.Port(), time.Second)
		},
	} {
		if c, err := dial(); c != nil || cause(err) != scope.Outside {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// The last check holds by itself: whatever sends the dialer elsewhere after the
// target was checked, nothing is sent there.
func TestControlRechecksFinalAddress(t *testing.T) {
	_, at := listen(t, "127.0.0.1")
	for name, elsewhere := range map[string]string{
		"outside the allowlist":       "127.99.0.1",
		"excluded":                    "127.0.0.66",
		"allowed, but not the target": "127.0.0.2",
	} {
		t.Run(name, func(t *testing.T) {
			trap, trapAt := listen(t, elsewhere)
			w := wall(t, nil, []string{"127.0.0.0/24"}, "127.0.0.66")
			scope.Divert(w, func(string) string { return trapAt.String() })
			c, err := w.Dial(t.Context(), target(t, w, at.Addr()), at.Port(), 5*time.Second)
			if c != nil || cause(err) != scope.Outside {
				t.Fatalf("diverted to %v: %v, %v", trapAt, c, err)
			}
			// The first connection that the trap ever gets is ours.
			mark, err := net.Dial("tcp", trapAt.String())
			if err != nil {
				t.Fatal(err)
			}
			defer mark.Close()
			got, err := trap.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.RemoteAddr().String() != mark.LocalAddr().String() {
				t.Errorf("the trap was contacted from %v", got.RemoteAddr())
			}
		})
	}
	t.Run("another port", func(t *testing.T) {
		_, trapAt := listen(t, "127.0.0.1")
		w := wall(t, nil, []string{"127.0.0.0/24"})
		scope.Divert(w, func(string) string { return trapAt.String() })
		if c, err := w.Dial(t.Context(), target(t, w, at.Addr()), at.Port(), 5*time.Second); c != nil || cause(err) != scope.Outside {
			t.Errorf("%v, %v", c, err)
		}
	})
	t.Run("not diverted", func(t *testing.T) {
		w := wall(t, nil, []string{"127.0.0.0/24"})
		scope.Divert(w, func(a string) string { return a })
		c, err := w.Dial(t.Context(), target(t, w, at.Addr()), at.Port(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

func TestDialCanceled(t *testing.T) {
	_, at := listen(t, "127.0.0.1")
	w := wall(t, nil, []string{"127.0.0.0/8"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := w.Dial(ctx, target(t, w, at.Addr()), at.Port(), time.Second); c != nil || cause(err) != scope.Canceled {
		t.Errorf("%v, %v", c, err)
	}
}

func TestDialTimeout(t *testing.T) {
	_, at := listen(t, "127.0.0.1")
	w := wall(t, nil, []string{"127.0.0.0/8"})
	if c, err := w.Dial(t.Context(), target(t, w, at.Addr()), at.Port(), time.Nanosecond); c != nil || cause(err) != scope.TimedOut {
		t.Errorf("%v, %v", c, err)
	}
}

// A socket that is bound to the port it connects to meets itself.
func TestSelfConnect(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			l, at := listen(t, host)
			other, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			if scope.Self(other.(*net.TCPConn)) {
				t.Error("a connection to a listener counts as one to itself")
			}
			if err := other.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			other.Close()
			l.Close()
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(at)}
			c, err := d.Dial("tcp", at.String())
			if err != nil {
				t.Skipf("needs a kernel that connects a socket to itself: %v", err)
			}
			defer c.Close()
			if !scope.Self(c.(*net.TCPConn)) {
				t.Errorf("%v to %v does not count as a connection to itself", c.LocalAddr(), c.RemoteAddr())
			}
		})
	}
}
