package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"time"
)

// Conn is a conversation that is past its greeting, EHLO, TLS and AUTH, ready
// for messages. For one goroutine at a time.
type Conn struct {
	cfg   Config
	srv   Server
	start time.Time

	mu   sync.Mutex // guards conn and cut against a context that ends
	conn net.Conn
	cut  bool

	r      *bufio.Reader
	local  bool // the peer is on loopback or behind a Unix socket
	tls    *tls.ConnectionState
	greet  Reply
	ext    map[string]string
	open   bool // a transaction is left that RSET must end
	writes int
	blanks []string // secrets that no event or error may show
	broken *Error
	closed bool
}

// Extension gives the parameters of an EHLO keyword (any case), and whether the
// server offers it in its latest EHLO reply.
func (c *Conn) Extension(keyword string) (params string, ok bool) {
	params, ok = c.ext[strings.ToUpper(keyword)]
	return params, ok
}

// TLS is the state of the encryption, nil in the clear.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Greeting is the server's 220.
func (c *Conn) Greeting() Reply { return c.greet }

// RemoteAddr is the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Quit says QUIT, waits for the answer and closes. The connection is closed
// also where the error is not nil; mail that was accepted stays accepted.
func (c *Conn) Quit(ctx context.Context) error {
	defer c.Close()
	if c.closed || c.broken != nil {
		return nil
	}
	defer c.guard(ctx)()
	r, err := c.command(ctx, StageQuit, "QUIT", "QUIT")
	switch {
	case err != nil:
		return err
	case !r.Positive():
		return refusal(StageQuit, r)
	}
	return nil
}

// Close closes without a word. Closing twice is fine.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.mu.Lock()
	err := c.conn.Close()
	c.mu.Unlock()
	c.emit(Event{From: Network, Kind: Closed, Text: "connection closed"})
	return err
}

// guard makes the end of ctx the end of every read and write from here until
// the function that it returns is called.
func (c *Conn) guard(ctx context.Context) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cut = true
		c.conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func (c *Conn) deadline(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut {
		c.conn.SetDeadline(time.Now().Add(d))
	}
}

// fail makes an error the last one of this connection.
func (c *Conn) fail(e *Error) *Error {
	if c.broken == nil {
		c.broken = e
		text := string(e.Kind)
		if e.Err != nil {
			text = e.Err.Error()
		}
		c.emit(Event{From: Network, Kind: Closed, Text: text, Failed: true})
	}
	return e
}

// line is one command on its way.
type line struct {
	verb string
	text string
	show string // what the trace shows of it; "" is text itself
}

// send writes lines in one write. Nothing may be left over from the server
// then: it would be taken for the answer to what has not been asked yet.
func (c *Conn) send(ctx context.Context, stage Stage, lines ...line) (asked time.Time, _ *Error) {
	if c.broken != nil {
		return asked, c.broken
	}
	if err := c.quiet(ctx, stage); err != nil {
		return asked, err
	}
	size := 0
	for _, l := range lines {
		if strings.ContainsFunc(l.text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return asked, badInput(stage, "a command with a control character")
		}
		size += len(l.text) + 2
	}
	buf := make([]byte, 0, size)
	for _, l := range lines {
		buf = append(append(buf, l.text...), '\r', '\n')
	}
	c.writes++
	c.deadline(c.cfg.Timeouts.Command)
	// Not from the end of the write: over loopback the server has read, and may
	// have answered, before the write returns.
	asked = time.Now()
	at := asked.Sub(c.start)
	_, err := c.conn.Write(buf)
	for _, l := range lines {
		show := l.show
		if show == "" {
			show = l.text
		}
		c.emit(Event{At: at, From: Client, Kind: Command, Verb: l.verb, Text: show, Bytes: int64(len(l.text) + 2), Write: c.writes})
	}
	if err != nil {
		// The reason often came before the connection went.
		if last := c.lastWord(ctx, stage); last != nil {
			return asked, last
		}
		return asked, c.fail(ioError(ctx, stage, err))
	}
	return asked, nil
}

// quiet fails where the server spoke without being asked.
func (c *Conn) quiet(ctx context.Context, stage Stage) *Error {
	if c.r.Buffered() == 0 {
		return nil
	}
	r, err := c.readReply(ctx, stage, "", time.Now(), c.cfg.Timeouts.Command)
	if err != nil {
		return err
	}
	if c.broken != nil { // 421, the one reply that may come unasked
		return c.fail(c.broken)
	}
	return c.fail(protocolError(stage, "the server answered what it was not asked: %s", r))
}

// lastWord is the refusal that a server left before it broke off a write.
func (c *Conn) lastWord(ctx context.Context, stage Stage) *Error {
	const patience = 2 * time.Second
	r, err := c.readReply(ctx, stage, "", time.Now(), min(patience, c.cfg.Timeouts.Command))
	if err != nil || !r.Temporary() && !r.Permanent() {
		return nil
	}
	e := refusal(stage, r)
	c.broken = e
	return e
}

// command sends one line and reads its reply.
func (c *Conn) command(ctx context.Context, stage Stage, verb, text string) (Reply, *Error) {
	return c.ask(ctx, stage, line{verb: verb, text: text})
}

func (c *Conn) ask(ctx context.Context, stage Stage, l line) (Reply, *Error) {
	asked, err := c.send(ctx, stage, l)
	if err != nil {
		return Reply{}, err
	}
	return c.readReply(ctx, stage, l.verb, asked, c.cfg.Timeouts.Command)
}

// blank takes secrets out of what the server says back.
func (c *Conn) blank(s string) string {
	for _, b := range c.blanks {
		s = strings.ReplaceAll(s, b, blanked)
	}
	return s
}

const blanked = "***"

var errNoTrust = errors.New("the certificate is not to be trusted")
