package smtpd

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"postern.example/smtpd/admit"
)

// body reads one message off the connection: what DATA carries, without its end
// mark and its doubled dots (RFC 5321, section 4.5.2), or the chunks of BDAT, up
// to the last one (RFC 3030).
//
// The library sees none of it. It has a goroutine of its own for BDAT, whose
// verdicts can reach the wrong message, so it is told of DATA in both cases, and
// of a body that ends at once; the session reads here instead, on the
// connection's goroutine.
type body struct {
	g       *gate
	chunked bool
	binary  bool  // any octet may come (BODY=BINARYMIME)
	left    int64 // octets of the chunk still to come
	last    bool  // the chunk is the last one
	size    int64 // octets so far
	scan    scanner
	pace    admit.Pace
	done    bool
	small   [16]byte // for readers with little room
	carry   []byte   // of small: what was not read yet
	given   []byte   // the command by which the client gave up
}

var (
	errGivenUp = errors.New("the client gave the message up")
	// errDone is all that a reader gets to hear once the gate has shut.
	errDone = errors.New("the conversation is over")
)

// Read gives the next octets of the message, io.EOF at its end, errGivenUp when
// the client dropped it, and errDone when the conversation ended inside it.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.done && len(b.carry) == 0:
		return 0, io.EOF
	case b.given != nil:
		return 0, errGivenUp
	case b.g.cause != nil:
		return 0, errDone
	case b.chunked:
		return b.readChunk(p)
	case len(b.carry) == 0 && len(p) < minRead:
		n, err := b.readData(b.small[:])
		if err != nil {
			return 0, err
		}
		b.carry = b.small[:n]
	case len(b.carry) == 0:
		return b.readData(p)
	}
	n := copy(p, b.carry)
	b.carry = b.carry[n:]
	return n, nil
}

// minRead is the room that a scanner needs: one octet may become three.
const minRead = 3

func (b *body) readData(p []byte) (int, error) {
	g := b.g
	for {
		buf, err := b.peek(int64(len(p)))
		if err != nil {
			return 0, err
		}
		out, n, end, ok := b.scan.data(p[:0:len(p)], buf)
		if !ok {
			return 0, g.shut(replyNewline, errNewline)
		}
		if err := b.take(n); err != nil {
			return 0, err
		}
		if end {
			b.done = true
			g.log.client(fmt.Sprintf("(%d bytes of message, with the end mark)", b.size), int(b.size))
		}
		if len(out) > 0 || len(p) == 0 {
			return len(out), nil
		}
		if end {
			return 0, io.EOF
		}
	}
}

func (b *body) readChunk(p []byte) (int, error) {
	g := b.g
	for b.left == 0 {
		if b.last {
			if !b.binary && b.scan.cr {
				return 0, g.shut(replyNewline, errNewline)
			}
			b.done = true
			return 0, io.EOF
		}
		g.answer("250 2.0.0 Continue")
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	buf, err := b.peek(min(int64(len(p)), b.left))
	if err != nil {
		return 0, err
	}
	if !b.binary && !b.scan.chunk(buf) {
		return 0, g.shut(replyNewline, errNewline)
	}
	n := copy(p, buf)
	if err := b.take(n); err != nil {
		return 0, err
	}
	if b.left -= int64(n); b.left == 0 {
		g.log.client(fmt.Sprintf("(the chunk; %d bytes of message so far)", b.size), n)
	}
	return n, nil
}

// nextChunk waits for the BDAT that follows. Until the last one, nothing but
// another chunk can go on with the message.
func (b *body) nextChunk() error {
	g := b.g
	for {
		line, err := g.readLine()
		if err != nil {
			return err
		}
		verb, arg, _ := strings.Cut(string(line), " ")
		switch g.verb = strings.ToUpper(verb); g.verb {
		case "RSET", "QUIT", "EHLO", "HELO", "LHLO":
			b.given = append([]byte{}, line...)
			return errGivenUp
		case "BDAT":
			g.logCommand(line, arg)
			n, last, ok := g.chunkSize(arg)
			if !ok {
				return errDone
			}
			b.left, b.last = n, last
			return nil
		case "NOOP":
			g.logCommand(line, arg)
			if !g.idle() {
				return errDone
			}
			g.answer("250 2.0.0 Ok")
		default:
			g.logCommand(line, arg)
			g.answer("503 5.5.1 A message is under way: BDAT goes on, RSET gives up")
		}
		if g.cause != nil {
			return errDone
		}
	}
}

// rest reads what the session has left unread: to the end of the message, or of
// the chunk.
func (b *body) rest() {
	if b.chunked {
		b.g.skip(b.left, &b.pace)
		b.left = 0
		return
	}
	var scratch [4 << 10]byte
	for {
		if _, err := b.Read(scratch[:]); err != nil {
			return
		}
	}
}

// peek waits for octets of the body, as long as the pace allows, and returns up
// to most of them.
func (b *body) peek(most int64) ([]byte, error) { return b.g.peekBody(most, &b.pace) }

func (g *gate) peekBody(most int64, pace *admit.Pace) ([]byte, error) {
	if g.in.Buffered() == 0 {
		if err := g.fill(pace.Deadline(), g.adm.TooSlow().String()); err != nil {
			return nil, err
		}
		pace.Moved(g.in.Buffered(), g.now())
	}
	return g.in.Peek(int(min(int64(g.in.Buffered()), most)))
}

// take counts n octets of the body and takes them off the input.
func (b *body) take(n int) error {
	g := b.g
	if b.size += int64(n); b.size > g.maxSize+g.limit.discard {
		return g.shut(g.tooLarge(), errEndless)
	}
	_, err := g.in.Discard(n)
	return err
}

// skip reads n octets that belong to nothing.
func (g *gate) skip(n int64, pace *admit.Pace) {
	for n > 0 {
		buf, err := g.peekBody(n, pace)
		if err != nil {
			return
		}
		g.in.Discard(len(buf))
		n -= int64(len(buf))
	}
}

const replyNewline = "550 5.6.11 A message holds no bare CR, bare LF or NUL: lines end in CR LF"

func (g *gate) tooLarge() string {
	return fmt.Sprintf("552 5.3.4 A message may have %d octets", g.maxSize)
}

// data begins a message by DATA, whose 354 the library has just given.
func (g *gate) data() {
	g.body = &body{g: g, pace: g.adm.Pace(g.now()), scan: scanner{atLine: true, strict: true, lax: g.bare == BareNormalize}}
}

// chunk begins a message by its first BDAT, and has the library read DATA for
// it, whose 354 nobody sees.
func (g *gate) chunk(arg string) []byte {
	n, last, ok := g.chunkSize(arg)
	if !ok {
		return nil
	}
	if !g.busy || len(g.rcpts) == 0 {
		// The chunk follows the command even where the command is refused.
		pace := g.adm.Pace(g.now())
		g.answer("503 5.5.1 MAIL and RCPT go before BDAT")
		g.skip(n, &pace)
		return nil
	}
	g.body = &body{g: g, chunked: true, binary: g.mail.binary(), left: n, last: last, pace: g.adm.Pace(g.now())}
	g.mute++
	return []byte("DATA\r\n")
}

// chunkSize reads the arguments of BDAT (RFC 3030, section 2). Without a size
// there is no telling where the next command begins, so a fault ends the
// session, and so does a chunk that is larger than what is read to its end.
func (g *gate) chunkSize(arg string) (n int64, last, ok bool) {
	args := strings.Fields(arg)
	last = len(args) == 2 && strings.EqualFold(args[1], "LAST")
	if len(args) != 1 && !last {
		g.shut("501 5.5.4 BDAT takes a size and LAST or nothing", errFraming)
		return 0, false, false
	}
	size, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil {
		g.shut("501 5.5.4 BDAT takes a size in octets", errFraming)
		return 0, false, false
	}
	if int64(size) > g.maxSize+g.limit.discard {
		g.shut(g.tooLarge(), errEndless)
		return 0, false, false
	}
	return int64(size), last, true
}

// finish ends the body that the session is done with, and gives the library the
// end that it waits for.
func (g *gate) finish() []byte {
	b := g.body
	g.body = nil
	if b.given != nil {
		// The library answers the body that never ended; nobody sees that. What
		// the client said instead comes next.
		g.pending = b.given
		g.mute++
		if g.role == roleLMTP {
			g.mute += len(g.rcpts) - 1
		}
	} else {
		b.rest()
	}
	return []byte(".\r\n")
}
