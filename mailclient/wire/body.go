package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// bodyBlock is how much of a message goes out under one deadline.
const bodyBlock = 32 << 10

var errBareLine = errors.New("a CR or LF stands alone in the message")

// stuffer doubles the dots that begin lines (RFC 5321 section 4.5.2) and lets
// CR and LF through in pairs only, so no line of a message can end it.
type stuffer struct {
	buf   []byte
	start bool // at the start of a line
	cr    bool // the last byte was CR
}

// add appends p, stuffed.
func (s *stuffer) add(p []byte) error {
	for len(p) > 0 {
		if s.cr {
			if p[0] != '\n' {
				return errBareLine
			}
			s.buf, p = append(s.buf, '\n'), p[1:]
			s.cr, s.start = false, true
			continue
		}
		if s.start && p[0] == '.' {
			s.buf = append(s.buf, '.')
		}
		s.start = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			s.buf = append(s.buf, p...)
			return nil
		}
		if p[i] == '\n' {
			return errBareLine
		}
		s.buf, p = append(s.buf, p[:i+1]...), p[i+1:]
		s.cr = true
	}
	return nil
}

// end closes the last line and appends the dot.
func (s *stuffer) end() error {
	if s.cr {
		return errBareLine
	}
	if !s.start {
		s.buf = append(s.buf, "\r\n"...)
	}
	s.buf = append(s.buf, ".\r\n"...)
	return nil
}

// sendBody writes the message and its end. A message that cannot be read to its
// end, or has bare line ends, is broken off without the dot, so that a part of
// it is never taken for the whole.
func (c *Conn) sendBody(ctx context.Context, body io.Reader) (asked time.Time, _ *Error) {
	began := time.Now()
	c.writes++
	e := Event{At: time.Since(c.start), From: Client, Kind: Data, Verb: "DATA", Write: c.writes}
	s := stuffer{buf: make([]byte, 0, 2*bodyBlock+8), start: true}
	chunk := make([]byte, bodyBlock)
	var read int64
	for done := false; !done; {
		n, rerr := io.ReadFull(body, chunk)
		read += int64(n)
		err := s.add(chunk[:n])
		switch {
		case err != nil:
		case rerr == io.EOF, rerr == io.ErrUnexpectedEOF:
			done = true
			err = s.end()
		case rerr != nil:
			err = fmt.Errorf("read message: %w", rerr)
		}
		if err != nil {
			return asked, c.fail(badInput(StageBody, "%w", err))
		}
		c.deadline(c.cfg.Timeouts.Block)
		asked = time.Now()
		sent, werr := c.conn.Write(s.buf)
		e.Bytes += int64(sent)
		s.buf = s.buf[:0]
		if werr != nil {
			e.Took, e.Failed = max(time.Since(began), 1), true
			e.Text = fmt.Sprintf("(%d bytes of the message, then the connection failed)", e.Bytes)
			c.emit(e)
			if last := c.lastWord(ctx, StageBody); last != nil {
				return asked, last
			}
			return asked, c.fail(ioError(ctx, StageBody, werr))
		}
	}
	e.Took = max(time.Since(began), 1)
	e.Text = fmt.Sprintf("(%d bytes of message)", read)
	e.Bytes -= int64(len(".\r\n"))
	c.emit(e)
	c.emit(Event{From: Client, Kind: Command, Verb: ".", Text: ".", Bytes: 3, Write: c.writes})
	return asked, nil
}
