package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"
)

// gate is the net.Conn that a go-smtp Server is given instead of the client's.
// Every byte passes through it, both ways, and it hands on one command at a
// time: when the next one is asked for, the reply to the last has been written,
// so the gate knows what state the library is in without asking it.
//
// It answers by itself what the library would misread, finds the end of a body
// itself, and after the first failure, a time-out included, gives the library
// nothing more: no byte that follows is ever taken for a command. Replies
// collect while commands wait, so that pipelined ones are answered together
// (RFC 2920, section 3.2).
//
// A gate belongs to the goroutine of its session, but for drain.
type gate struct {
	raw     net.Conn
	in      *bufio.Reader
	out     *bufio.Writer
	host    string
	maxSize int64
	limit   limits

	mode     mode
	line     []byte // what is left of the command under way
	verb     string // of the command whose reply is due
	code     string // of the last reply
	reply    []byte // a reply line that is not complete yet
	esmtp    bool
	helo     string
	mail     command // what the last MAIL said
	rcpt     command // what the last RCPT said
	busy     bool    // a transaction is under way
	scan     scanner
	chunking bool  // between the first and the last chunk of a body
	left     int64 // octets of the chunk still to come
	last     bool  // the chunk is the last one
	size     int64 // octets of the body so far
	cause    error // why nothing more is read
	muted    bool  // the last word was said
	closed   bool
	clean    bool // the client closed first
	drainMu  sync.Mutex
	drainBy  time.Time // zero until the server drains
}

type mode int

const (
	inCommands mode = iota
	inData
	inChunk
)

const (
	// bufferSize bounds a command line, and with it what an idle client costs.
	bufferSize = 8 << 10
	// maxLine is what a command may have with all its parameters, CRLF
	// included (RFC 5321, section 4.5.3.1.4 and the extensions that add to it).
	maxLine = 4 << 10
)

// errDone is all that the library gets to hear once the gate has shut.
var errDone = net.ErrClosed

var (
	errIdle     = errors.New("idle for too long")
	errDraining = errors.New("shutting down")
	errLineLong = errors.New("command line too long")
	errNewline  = errors.New("bare CR, bare LF or NUL")
	errControl  = errors.New("control character or broken UTF-8 in a command")
	errFraming  = errors.New("chunk without a size")
	errEndless  = errors.New("oversized beyond what is read to its end")
	errCutShort = errors.New("client left inside a message")
)

func newGate(c net.Conn, host string, maxSize int64, l limits) *gate {
	return &gate{
		raw: c, host: host, maxSize: maxSize, limit: l,
		in:  bufio.NewReaderSize(c, bufferSize),
		out: bufio.NewWriterSize(c, 1<<10),
	}
}

// Read gives the library the rest of a command, or a stretch of a body.
func (g *gate) Read(p []byte) (int, error) {
	for {
		if len(g.line) > 0 {
			n := copy(p, g.line)
			g.line = g.line[n:]
			return n, nil
		}
		if g.cause != nil {
			return 0, errDone
		}
		if g.mode == inCommands && g.verb == "DATA" && g.code == "354" {
			g.mode, g.size, g.scan = inData, 0, scanner{atLine: true}
		}
		switch g.mode {
		case inData:
			return g.readData(p)
		case inChunk:
			if g.left > 0 {
				return g.readChunk(p)
			}
			g.mode = inCommands
		}
		g.verb, g.code = "", ""
		line, err := g.readLine()
		if err != nil {
			return 0, err
		}
		g.line = g.command(line)
	}
}

// readLine waits for one command line and returns it without its CRLF. The
// slice is valid until the next read.
func (g *gate) readLine() ([]byte, error) {
	if g.drainDue(time.Now()) {
		return nil, g.shut("421 4.3.2 "+g.host+" is shutting down", errDraining)
	}
	until := time.Now().Add(g.limit.command)
	for seen := 0; ; {
		buf, _ := g.in.Peek(g.in.Buffered())
		if i := bytes.IndexByte(buf[seen:], '\n'); i >= 0 {
			line := buf[:seen+i+1]
			g.in.Discard(len(line))
			return g.checkLine(line)
		}
		seen = len(buf)
		if seen >= maxLine {
			return nil, g.shut("500 5.5.2 Line too long", errLineLong)
		}
		if err := g.fill(until); err != nil {
			return nil, err
		}
	}
}

func (g *gate) checkLine(line []byte) ([]byte, error) {
	if len(line) > maxLine {
		return nil, g.shut("500 5.5.2 Line too long", errLineLong)
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		return nil, g.shut("500 5.5.2 Lines end in CR LF and hold neither alone, nor NUL", errNewline)
	}
	if bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || 0x7f <= r && r < 0xa0 }) || !utf8.Valid(text) {
		return nil, g.shut("500 5.5.2 No control characters, and text in UTF-8", errControl)
	}
	return text, nil
}

// fill waits until more input is buffered, with all replies sent before.
func (g *gate) fill(until time.Time) error {
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
			if g.mode != inCommands {
				return g.stop(errCutShort)
			}
			return g.stop(io.EOF)
		case !errors.As(err, &ne) || !ne.Timeout():
			return g.stop(err)
		case g.drainDue(time.Now()):
			return g.shut("421 4.3.2 "+g.host+" is shutting down", errDraining)
		case !time.Now().Before(until):
			return g.shut("421 4.4.2 Nothing came for too long", errIdle)
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
}

// drainDue tells whether the drain ends the session now.
func (g *gate) drainDue(now time.Time) bool {
	g.drainMu.Lock()
	defer g.drainMu.Unlock()
	return !g.drainBy.IsZero() && (!g.busy || !now.Before(g.drainBy))
}

// readData hands on body octets up to and including CRLF.CRLF, still
// dot-stuffed, and never past it.
func (g *gate) readData(p []byte) (int, error) {
	buf, err := g.peekBody(int64(len(p)))
	if err != nil {
		return 0, err
	}
	n, end, ok := g.scan.data(buf)
	if !ok {
		return 0, g.shut(replyNewline, errNewline)
	}
	if end {
		g.mode, g.code = inCommands, ""
	}
	return g.take(p, n)
}

// readChunk hands on octets of a BDAT chunk (RFC 3030, section 2).
func (g *gate) readChunk(p []byte) (int, error) {
	buf, err := g.peekBody(min(int64(len(p)), g.left))
	if err != nil {
		return 0, err
	}
	end := g.last && int64(len(buf)) == g.left
	if !g.scan.chunk(buf, end) {
		return 0, g.shut(replyNewline, errNewline)
	}
	g.left -= int64(len(buf))
	return g.take(p, len(buf))
}

const replyNewline = "550 5.6.11 A message holds no bare CR, bare LF or NUL: lines end in CR LF"

func (g *gate) peekBody(most int64) ([]byte, error) {
	if g.in.Buffered() == 0 {
		if err := g.fill(time.Now().Add(g.limit.data)); err != nil {
			return nil, err
		}
	}
	return g.in.Peek(int(min(int64(g.in.Buffered()), most)))
}

func (g *gate) take(p []byte, n int) (int, error) {
	if g.size += int64(n); g.size > g.maxSize+g.limit.discard {
		return 0, g.shut(g.tooLarge(), errEndless)
	}
	return io.ReadFull(g.in, p[:n])
}

func (g *gate) tooLarge() string {
	return fmt.Sprintf("552 5.3.4 A message may have %d octets", g.maxSize)
}

// stop ends reading for good and remembers why.
func (g *gate) stop(cause error) error {
	if g.cause == nil {
		g.cause = cause
	}
	return errDone
}

// shut says the last word of the session and ends reading for good.
func (g *gate) shut(reply string, cause error) error {
	g.answer(reply)
	g.muted = true
	return g.stop(cause)
}

// answer sends a reply of the gate's own.
func (g *gate) answer(reply string) {
	if !g.muted {
		g.out.WriteString(reply + "\r\n")
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
		g.answer(g.reword(line))
		if len(line) >= 4 && line[3] == ' ' {
			g.code = line[:3]
			if !mayWait(g.verb) {
				g.flush()
			}
		}
	}
}

// mayWait tells whether the reply to a command may be held back while further
// commands wait. To all others it may not (RFC 2920, section 3.2).
func mayWait(verb string) bool { return verb == "MAIL" || verb == "RCPT" || verb == "RSET" }

func (g *gate) flush() error {
	if g.out.Buffered() == 0 {
		return nil
	}
	g.raw.SetWriteDeadline(time.Now().Add(g.limit.write))
	return g.out.Flush()
}

// Close sends what is left, lets the client read it, and closes. Closing with
// unread input would reset the connection and take the last reply with it, so
// the client's side is read to its end first, within a bound.
func (g *gate) Close() error {
	if g.closed {
		return nil
	}
	g.closed = true
	g.stop(net.ErrClosed)
	if g.flush() == nil && !g.clean {
		if half, ok := g.raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			g.raw.SetReadDeadline(time.Now().Add(g.limit.linger))
			io.CopyN(io.Discard, g.raw, g.limit.discard)
		}
	}
	return g.raw.Close()
}

func (g *gate) LocalAddr() net.Addr  { return g.raw.LocalAddr() }
func (g *gate) RemoteAddr() net.Addr { return g.raw.RemoteAddr() }

// Deadlines are the gate's own: the library would set one for each command, and
// a steady slow body would die of it.

func (g *gate) SetDeadline(time.Time) error      { return nil }
func (g *gate) SetReadDeadline(time.Time) error  { return nil }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }

// scanner finds in a body what must not be there, and where it ends.
type scanner struct {
	atLine bool // at the start of a line
	dot    bool // the line holds one dot so far
	cr     bool // the last octet was CR
}

// data scans a stretch of a DATA body: n octets belong to it, the end mark
// included when end is set. ok is false at a bare CR, a bare LF or a NUL.
func (s *scanner) data(buf []byte) (n int, end, ok bool) {
	for i, c := range buf {
		if c == 0 || s.cr != (c == '\n') {
			return 0, false, false
		}
		switch {
		case c == '\n':
			if s.dot {
				return i + 1, true, true
			}
			s.atLine = true
		case c == '\r':
			s.atLine = false // a dot before it stays the line's only octet
		default:
			s.dot = s.atLine && c == '.'
			s.atLine = false
		}
		s.cr = c == '\r'
	}
	return len(buf), false, true
}

// chunk scans a stretch of a BDAT body; end says that it is the body's last.
func (s *scanner) chunk(buf []byte, end bool) (ok bool) {
	for _, c := range buf {
		if c == 0 || s.cr != (c == '\n') {
			return false
		}
		s.cr = c == '\r'
	}
	return !end || !s.cr
}
