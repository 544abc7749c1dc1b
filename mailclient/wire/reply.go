package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of a reply. RFC 5321 section 4.5.3.1.5 allows 512 octets a line;
// servers in use go beyond it.
const (
	maxReplyLine  = 4096
	maxReplyLines = 200
	maxReplyBytes = 64 << 10
)

// Reply is what a server answered to one command.
type Reply struct {
	Code     int    `json:"code"`               // 200 to 599
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463, such as 5.1.1, where it agrees with Code
	// Lines are the texts after the code, as they came: show them only through
	// Printable.
	Lines []string `json:"lines,omitempty"`
}

// Positive reports a 2xx.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Temporary reports a 4xx.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports a 5xx.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Text is the text of all lines on one, without the enhanced code, as it came.
func (r Reply) Text() string {
	lines := make([]string, 0, len(r.Lines))
	for _, l := range r.Lines {
		if r.Enhanced != "" {
			l = strings.TrimPrefix(strings.TrimPrefix(l, r.Enhanced), " ")
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, " ")
}

// String is the reply on one line, safe to show.
func (r Reply) String() string {
	s := fmt.Sprintf("%03d", r.Code)
	if r.Enhanced != "" {
		s += " " + r.Enhanced
	}
	if t := Printable(r.Text()); t != "" {
		s += " " + t
	}
	return s
}

// readReply reads the one reply to verb under one deadline for all of it.
// asked is when the write that asked for it was done.
func (c *Conn) readReply(ctx context.Context, stage Stage, verb string, asked time.Time, limit time.Duration) (Reply, *Error) {
	c.deadline(limit)
	var r Reply
	for size, n := 0, 0; ; n++ {
		line, err := c.r.ReadSlice('\n')
		size += len(line)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return Reply{}, c.fail(protocolError(stage, "the server sent a line of more than %d bytes", maxReplyLine))
		case err != nil:
			e := ioError(ctx, stage, err)
			if lost := e.Kind == Gone || e.Kind == TimedOut; lost && stage == StageGreeting && size == 0 {
				e.Err = c.ungreeted(e.Err)
			} else if lost && !startsReply(line) {
				// What waits for a request, or for TLS, may say why it does not
				// understand without ever ending a line.
				c.emit(Event{From: Remote, Kind: Answer, Verb: verb, Text: c.blank(string(line)), Bytes: int64(len(line))})
				_, _, _, perr := parseReplyLine(line)
				e = c.noReply(stage, line, perr)
			}
			return Reply{}, c.fail(e)
		case size > maxReplyBytes || n >= maxReplyLines:
			return Reply{}, c.fail(protocolError(stage, "the server's reply does not end"))
		}
		bytesIn := len(line)
		// A bare LF is taken as the end of a line: it can make a reply neither
		// longer nor another one.
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		code, text, more, perr := parseReplyLine(line)
		e := Event{From: Remote, Kind: Answer, Verb: verb, Text: c.blank(string(line)), Bytes: int64(bytesIn)}
		if perr == nil && !more {
			e.Took = max(time.Since(asked), 1)
		}
		c.emit(e)
		switch {
		case perr != nil:
			return Reply{}, c.fail(c.noReply(stage, line, perr))
		case n > 0 && code != r.Code:
			return Reply{}, c.fail(protocolError(stage, "the lines of one reply say %d and %d", r.Code, code))
		}
		r.Code = code
		r.Lines = append(r.Lines, c.blank(text))
		if !more {
			break
		}
	}
	if verb != "EHLO" && verb != "LHLO" {
		r.Enhanced = enhanced(r.Code, r.Lines[0])
	}
	if r.Code == 421 { // the server is about to close, whatever was asked
		c.broken = refusal(stage, r)
	}
	return r, nil
}

// noReply is the error about a line that is not one of a reply.
func (c *Conn) noReply(stage Stage, line []byte, why error) *Error {
	const most = 60
	return protocolError(stage, "what came is no %s reply: %s: %w", c.srv.protocol(), quote(c.blank(string(line)), most), why)
}

// ungreeted explains the end of a connection on which the server, who speaks
// first in SMTP, said nothing at all.
func (c *Conn) ungreeted(err error) error {
	hint := "perhaps this is no " + c.srv.protocol() + " server"
	if c.srv.Scheme == SMTP {
		hint += ", or one to speak to as smtps://"
	}
	return fmt.Errorf("nothing greeted: %w; %s", err, hint)
}

// startsReply reports whether l, a line without its end, could go on to become
// one of a reply.
func startsReply(l []byte) bool {
	for i, b := range l[:min(len(l), 4)] {
		switch {
		case i == 0 && (b < '2' || b > '5'), i < 3 && (b < '0' || b > '9'), i == 3 && b != ' ' && b != '-' && b != '\r':
			return false
		}
	}
	return true
}

// parseReplyLine splits code, separator and text. The second digit is not held
// to 0-5 of RFC 5321, since 57x is in use.
func parseReplyLine(l []byte) (code int, text string, more bool, err error) {
	if bytes.IndexByte(l, 0) >= 0 {
		return 0, "", false, errors.New("a reply with a NUL")
	}
	if len(l) < 3 {
		return 0, "", false, errors.New("no reply code")
	}
	for _, d := range l[:3] {
		if d < '0' || d > '9' {
			return 0, "", false, errors.New("no reply code")
		}
		code = code*10 + int(d-'0')
	}
	if code < 200 || code > 599 {
		return 0, "", false, errors.New("a reply code outside 200 to 599")
	}
	if len(l) == 3 {
		return code, "", false, nil
	}
	switch l[3] {
	case '-':
		more = true
	case ' ':
	default:
		return 0, "", false, errors.New("neither blank nor hyphen after the reply code")
	}
	return code, string(l[4:]), more, nil
}

// enhanced is the code of RFC 3463 at the start of a text, or "" where there is
// none or its class contradicts the reply code.
func enhanced(code int, text string) string {
	word, _, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || int(parts[0][0]-'0') != code/100 {
		return ""
	}
	for _, p := range parts {
		if len(p) < 1 || len(p) > 3 || len(p) > 1 && p[0] == '0' || strings.Trim(p, "0123456789") != "" {
			return ""
		}
	}
	return word
}
