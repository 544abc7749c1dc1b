package probe

import (
	"context"
	"net/netip"
	"time"

	"postern.example/audit/scope"
)

// Dial makes one attempt at a port and closes what it opened. It returns the
// local end of the connection, or an error that [Classify] understands. It gives
// up after timeout and when ctx ends.
type Dial func(ctx context.Context, t scope.Target, port uint16, timeout time.Duration) (netip.AddrPort, error)

// Connect returns the Dial that goes through w: a TCP connection, reset as soon
// as it stands. Nothing is sent and nothing is read.
func Connect(w *scope.Wall) Dial {
	return func(ctx context.Context, t scope.Target, port uint16, timeout time.Duration) (netip.AddrPort, error) {
		c, err := w.Dial(ctx, t, port, timeout)
		if err != nil {
			return netip.AddrPort{}, err
		}
		local := c.LocalAddr()
		// The connection stood, which is all that was asked; an error of
		// closing it changes nothing about the port.
		c.Close()
		return local, nil
	}
}
