package smtpd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"postern.example/mailclient/address"
	"postern.example/smtpd/admit"
)

// gate is the net.Conn that a go-smtp Server is given instead of the client's.
// Every byte passes through it, both ways, and it hands on one command at a
// time: when the next one is asked for, the reply to the last has been written,
// so the gate knows what state the library is in without asking it.
//
// It answers by itself what the library would misread, keeps bodies to itself
// (body.go), and after the first failure, a time-out included, gives the library
// nothing more: no byte that follows is ever taken for a command. Replies
// collect while commands wait, so that pipelined ones are answered together
// (RFC 2920, section 3.2).
//
// A gate belongs to the goroutine of its session, but for drain.
type gate struct {
	policy
	client     netip.AddrPort // who it is; a named peer may speak for another
	mayXclient bool
	xhelo      string   // the name that XCLIENT gave, which EHLO does not change
	proxied    bool     // a PROXY header is due
	conn       net.Conn // what is spoken through: raw, or TLS over it
	raw        net.Conn
	in         *bufio.Reader
	out        *bufio.Writer
	host       string
	maxSize    int64
	limit      limits
	bare       BareNewline
	log        *transcript
	metrics    *metrics
	adm        *admit.Session // what the client may do
	now        func() time.Time

	// Of the conversation.
	pending []byte // a command that was read and is not handled yet
	line    []byte // what is left of the command under way
	verb    string // of the command whose reply is due
	code    string // of the last reply
	reply   []byte // a reply line that is not complete yet
	mute    int    // replies of the library that the client must not see
	anew    bool   // TLS has begun: EHLO is due again (RFC 3207, section 4.2)
	esmtp   bool
	helo    string
	user    string               // who authenticated
	secure  *tls.ConnectionState // nil without TLS

	// Of the transaction.
	mail     command           // what the last MAIL said
	rcpt     command           // what the last RCPT said
	rcpts    []address.Address // those that were accepted
	stored   int64             // position of its message, once that is on disk
	mark     int               // lines of its transcript at that moment
	answered int               // LMTP's replies so far, one for each of rcpts
	busy     bool              // a transaction is under way
	body     *body             // the message under way

	accepted []string // ids of the messages of this session

	// Of the end.
	cause   error // why nothing more is read
	muted   bool  // the last word was said
	closed  bool
	clean   bool // the client closed first
	drainMu sync.Mutex
	drainBy time.Time     // zero until the server drains
	drained chan struct{} // closed when it does
}

const (
	// bufferSize bounds a command line, and with it what an idle client costs.
	bufferSize = 16 << 10
	// maxLine is what a command may have with all its parameters, CRLF
	// included (RFC 5321, section 4.5.3.1.4 and the extensions that add to it).
	maxLine = 4 << 10
	// maxSASL is what a response of AUTH may have (RFC 4954, section 4).
	maxSASL = 12288 + 2
)

var (
	errIdle      = errors.New("idle for too long")
	errDraining  = errors.New("shutting down")
	errLineLong  = errors.New("command line too long")
	errNewline   = errors.New("bare CR, bare LF or NUL")
	errControl   = errors.New("control character or broken UTF-8 in a command")
	errFraming   = errors.New("chunk without a size")
	errEndless   = errors.New("oversized beyond what is read to its end")
	errCutShort  = errors.New("client left inside a message")
	errHandshake = errors.New("TLS handshake failed")
	errInjected  = errors.New("commands behind STARTTLS, before TLS")
)

func newGate(c net.Conn, p policy, cfg Config, m *metrics) *gate {
	peer, _ := netip.ParseAddrPort(c.RemoteAddr().String()) // none on a socket in the file system
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	g := &gate{
		policy: p, conn: c, raw: c, client: peer,
		mayXclient: contains(cfg.XclientFrom, peer.Addr()),
		proxied:    contains(cfg.ProxyFrom, peer.Addr()),
		host:       cfg.Hostname, maxSize: int64(cfg.MaxSize), limit: cfg.limit, bare: cfg.BareNewline,
		in:      readers.Get().(*bufio.Reader),
		log:     newTranscript(cfg.now),
		metrics: m,
		now:     cfg.now,
		drained: make(chan struct{}),
	}
	g.in.Reset(c)
	g.out = writers.Get().(*bufio.Writer)
	g.out.Reset(deadlined{g})
	return g
}

// Buffers are shared among sessions that come and go: in a flood of connections
// they would be most of the garbage.
var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 1<<10) }}
)

// release gives the buffers back, when nothing will use the gate any more.
func (g *gate) release() {
	g.out.Reset(nil)
	writers.Put(g.out)
	if g.secure == nil { // with TLS, the first reader still belongs to it
		g.in.Reset(nil)
		readers.Put(g.in)
	}
	g.in, g.out = nil, nil
}

// proxy reads the header by which a named peer says whom it speaks for. When it
// fails, nothing is said.
func (g *gate) proxy() error {
	g.raw.SetReadDeadline(time.Now().Add(g.limit.handshake))
	client, ok, err := readProxy(g.in)
	if err != nil {
		return g.stop(err)
	}
	if ok {
		g.client = client
		g.mayXclient = false // that was the peer's right
	}
	return nil
}

// contains tells whether an address is in one of the prefixes.
func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Read gives the library the rest of a command, or the end of a body, of which
// it never sees more.
func (g *gate) Read(p []byte) (int, error) {
	for len(g.line) == 0 {
		switch {
		case g.body != nil:
			g.line = g.finish()
		case g.cause != nil:
			return 0, net.ErrClosed
		default:
			if err := g.next(); err != nil {
				return 0, net.ErrClosed
			}
		}
	}
	n := copy(p, g.line)
	g.line = g.line[n:]
	return n, nil
}

// next takes the next command, or the next response of AUTH.
func (g *gate) next() error {
	if line := g.pending; line != nil {
		g.pending, g.code = nil, ""
		g.line = g.command(line)
		return nil
	}
	sasl := g.verb == "AUTH" && g.code == "334"
	g.code = ""
	if !sasl {
		g.verb = ""
	}
	line, err := g.readLine()
	if err != nil {
		return err
	}
	if sasl {
		g.log.client("(response of AUTH left out)", len(line)+2)
		g.line = append(line, "\r\n"...)
	} else {
		g.line = g.command(line)
	}
	return nil
}

// readLine waits for one command line and returns it without its CRLF. The
// slice is valid until the next read.
func (g *gate) readLine() ([]byte, error) {
	if g.drainDue(time.Now()) {
		return nil, g.shut("421 4.3.2 "+g.host+" is shutting down", errDraining)
	}
	until := time.Now().Add(g.limit.command)
	longest := maxLine
	if g.verb == "AUTH" {
		longest = maxSASL
	}
	for seen := 0; ; {
		buf, _ := g.in.Peek(g.in.Buffered())
		if i := bytes.IndexByte(buf[seen:], '\n'); i >= 0 {
			line := buf[:seen+i+1]
			g.in.Discard(len(line))
			return g.checkLine(line, longest)
		}
		seen = len(buf)
		if seen >= longest {
			return nil, g.shut("500 5.5.2 Line too long", errLineLong)
		}
		if err := g.fill(until, "421 4.4.2 Nothing came for too long"); err != nil {
			return nil, err
		}
	}
}

func (g *gate) checkLine(line []byte, longest int) ([]byte, error) {
	if len(line) > longest {
		return nil, g.shut("500 5.5.2 Line too long", errLineLong)
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok && g.bare == BareNormalize {
		text, ok = line[:len(line)-1], true
	}
	if !ok || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		return nil, g.shut("500 5.5.2 Lines end in CR LF and hold neither alone, nor NUL", errNewline)
	}
	if bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || 0x7f <= r && r < 0xa0 }) || !utf8.Valid(text) {
		return nil, g.shut("500 5.5.2 No control characters, and text in UTF-8", errControl)
	}
	return text, nil
}

// fill waits until more input is buffered, with all replies sent before.
func (g *gate) fill(until time.Time, tooLate string) error {
	for {
		if err := g.flush(); err != nil {
			return g.stop(err)
		}
		g.arm(until)
		_, err := g.in.Peek(g.in.Buffered() + 1)
		var ne net.Error
		switch {
		case err == nil:
			return nil
		case err == io.EOF:
			g.clean = true
			if g.body != nil {
				return g.stop(errCutShort)
			}
			return g.stop(io.EOF)
		case !errors.As(err, &ne) || !ne.Timeout():
			return g.stop(err)
		case g.drainDue(time.Now()):
			return g.shut("421 4.3.2 "+g.host+" is shutting down", errDraining)
		case !time.Now().Before(until):
			return g.shut(tooLate, errIdle)
		}
		// drain woke us inside a transaction: it may go on.
	}
}

// arm sets the deadline of the next read, no later than the drain allows.
func (g *gate) arm(until time.Time) {
	g.drainMu.Lock()
	defer g.drainMu.Unlock()
	if !g.drainBy.IsZero() {
		if !g.busy {
			until = time.Unix(1, 0)
		} else if g.drainBy.Before(until) {
			until = g.drainBy
		}
	}
	g.raw.SetReadDeadline(until)
}

// drain asks the session to end: at once when idle, by the given time when a
// transaction is under way. It may be called from any goroutine.
func (g *gate) drain(by time.Time) {
	g.drainMu.Lock()
	defer g.drainMu.Unlock()
	g.drainBy = by
	g.raw.SetReadDeadline(time.Unix(1, 0)) // wakes the reader, which looks again
	g.raw.SetWriteDeadline(by.Add(drainLinger))
	close(g.drained)
}

// drainDue tells whether the drain ends the session now.
func (g *gate) drainDue(now time.Time) bool {
	g.drainMu.Lock()
	defer g.drainMu.Unlock()
	return !g.drainBy.IsZero() && (!g.busy || !now.Before(g.drainBy))
}

// stop ends reading for good and remembers why. Nothing more is said.
func (g *gate) stop(cause error) error {
	g.muted = true
	if g.cause == nil {
		g.cause = cause
	}
	return errDone
}

// shut says the last word of the session and ends reading for good.
func (g *gate) shut(reply string, cause error) error {
	g.answer(reply)
	return g.stop(cause)
}

// answer sends a reply of the gate's own.
func (g *gate) answer(reply string) {
	if g.muted {
		return
	}
	r := g.penalize(reply)
	g.log.server(reply)
	g.metrics.replies.WithLabelValues(reply[:3]).Inc()
	g.out.WriteString(reply + "\r\n")
	if !r.IsZero() {
		g.refuse(r)
	}
}

// Write takes the library's replies, line by line, and says them in its own
// words. It never fails: a client that cannot be written to is found out by
// the next read, which sends what has collected.
func (g *gate) Write(p []byte) (int, error) {
	g.reply = append(g.reply, p...)
	for {
		i := bytes.IndexByte(g.reply, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(bytes.TrimRight(g.reply[:i], "\r"))
		g.reply = g.reply[i+1:]
		final := len(line) >= 4 && line[3] == ' '
		if g.mute > 0 {
			if final {
				g.mute--
			}
			continue
		}
		g.answer(g.reword(line))
		if final {
			if g.code = line[:3]; g.code == "354" {
				g.data()
			}
			if !mayWait(g.verb) {
				g.flush()
			}
		}
	}
}

// mayWait tells whether the reply to a command may be held back while further
// commands wait. To all others it may not (RFC 2920, section 3.2).
func mayWait(verb string) bool { return verb == "MAIL" || verb == "RCPT" || verb == "RSET" }

func (g *gate) flush() error { return g.out.Flush() }

// deadlined gives each write to the client its time, and none beyond the drain.
type deadlined struct{ g *gate }

// Write implements io.Writer.
func (d deadlined) Write(p []byte) (int, error) {
	g := d.g
	g.drainMu.Lock()
	until := time.Now().Add(g.limit.write)
	if last := g.drainBy.Add(drainLinger); !g.drainBy.IsZero() && last.Before(until) {
		until = last
	}
	g.raw.SetWriteDeadline(until)
	g.drainMu.Unlock()
	return g.conn.Write(p)
}

// lingerUntil is how long a client may take to read the last reply, which the
// end of a drain does not wait for.
func (g *gate) lingerUntil() time.Time {
	g.drainMu.Lock()
	defer g.drainMu.Unlock()
	until := time.Now().Add(g.limit.linger)
	if last := g.drainBy.Add(drainLinger); !g.drainBy.IsZero() && last.Before(until) {
		until = last
	}
	return until
}

// drainLinger is added to a drain for last replies to be read.
const drainLinger = time.Second

// Close sends what is left, lets the client read it, and closes. Closing with
// unread input would reset the connection and take the last reply with it, so
// the client's side is read to its end first, within a bound.
func (g *gate) Close() error {
	if g.closed {
		return nil
	}
	g.closed = true
	g.stop(errDone)
	if g.flush() == nil && !g.clean {
		g.raw.SetDeadline(g.lingerUntil())
		if t, ok := g.conn.(*tls.Conn); ok {
			t.CloseWrite()
		}
		if half, ok := g.raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			io.CopyN(io.Discard, g.raw, g.limit.discard)
		}
	}
	return g.raw.Close()
}

// LocalAddr is ours.
func (g *gate) LocalAddr() net.Addr { return g.raw.LocalAddr() }

// RemoteAddr is the client's address, as a named peer gave it if one did.
func (g *gate) RemoteAddr() net.Addr {
	if g.client.IsValid() {
		return net.TCPAddrFromAddrPort(g.client)
	}
	return g.raw.RemoteAddr()
}

// Deadlines are the gate's own: the library would set one for each command, and
// a steady slow body would die of it.

func (g *gate) SetDeadline(time.Time) error      { return nil }
func (g *gate) SetReadDeadline(time.Time) error  { return nil }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }
