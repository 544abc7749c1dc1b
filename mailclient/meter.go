package mailclient

import (
	"context"
	"net"
	"sync"
	"time"
)

// meter counts on connections themselves, so that nothing about a protocol has
// to be guessed: octets, calls of write, and turns. Safe for concurrent use.
type meter struct {
	start time.Time

	mu      sync.Mutex
	connect time.Duration // until the connection stood
	first   time.Duration // until the first byte from the other side
	out, in int64
	writes  int
	bursts  int // runs of reads without a write between them: waits for the other side
	reading bool
	conns   int
}

func newMeter() *meter { return &meter{start: time.Now()} }

// dial opens a connection that this meter counts.
func (m *meter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns++
	if m.connect == 0 {
		m.connect = time.Since(m.start)
	}
	return &metered{Conn: c, m: m}, nil
}

type metered struct {
	net.Conn
	m *meter
}

func (c *metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		if c.m.first == 0 {
			c.m.first = time.Since(c.m.start)
		}
		c.m.in += int64(n)
		if !c.m.reading {
			c.m.reading = true
			c.m.bursts++
		}
	}
	return n, err
}

func (c *metered) Write(p []byte) (int, error) {
	// Counted before the write: on loopback the answer can be read by another
	// goroutine before this one goes on.
	c.m.mu.Lock()
	c.m.writes++
	c.m.reading = false
	c.m.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.m.mu.Lock()
	c.m.out += int64(n)
	c.m.mu.Unlock()
	return n, err
}
