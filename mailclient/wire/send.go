package wire

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"postern.example/mailclient/address"
)

// Mail is a message and its envelope.
type Mail struct {
	From address.Address // the zero Address is the null reverse-path
	To   []address.Address
	// Body is read once, to its end. Its lines end in CRLF; a CR or LF alone
	// breaks the transfer off. A last line without an end gets one.
	Body io.Reader
	// Size is the octets of Body, told to servers that offer SIZE (RFC 1870);
	// 0 tells nothing.
	Size int64
	// EightBit: Body holds octets above 127, and needs 8BITMIME (RFC 6152).
	EightBit bool
	// UTF8: the header holds UTF-8, and needs SMTPUTF8 (RFC 6531), as does a
	// mailbox outside ASCII.
	UTF8 bool
}

// Status is the verdict on one recipient. Err is nil where the server took the
// responsibility for this recipient over; Reply is then its final answer.
type Status struct {
	To    address.Address
	Stage Stage // where the verdict fell
	Reply Reply
	Err   *Error
}

// Send carries one message. The statuses stand in the order of m.To, one for
// each, whatever happens. The error is not nil only where the connection is of
// no more use; every refusal is in the statuses alone.
//
// Commands travel in groups where the server offers PIPELINING (RFC 2920).
func (c *Conn) Send(ctx context.Context, m Mail) ([]Status, error) {
	t := &transaction{c: c, m: m, st: make([]Status, len(m.To)), done: make([]bool, len(m.To))}
	for i, to := range m.To {
		t.st[i].To = to
	}
	if c.closed && c.broken == nil {
		c.broken = &Error{Stage: StageMail, Kind: Gone, Err: errors.New("the connection is closed")}
	}
	defer c.guard(ctx)()
	err := c.broken
	if err == nil {
		err = t.run(ctx)
	}
	if err == nil && c.broken != nil {
		err = c.broken
	}
	if err != nil {
		t.settle(err.Stage, err.Reply, err)
		return t.st, err
	}
	return t.st, nil
}

// transaction is one mail on its way.
type transaction struct {
	c     *Conn
	m     Mail
	st    []Status
	done  []bool // a verdict has fallen
	taken int    // recipients that RCPT accepted
	body  bool   // DATA was answered with 354
	dead  bool   // MAIL or DATA was refused
}

// settle gives all recipients without a verdict the same one.
func (t *transaction) settle(stage Stage, r Reply, err *Error) {
	for i := range t.st {
		if !t.done[i] {
			t.verdict(i, stage, r, err)
		}
	}
}

func (t *transaction) verdict(i int, stage Stage, r Reply, err *Error) {
	t.st[i].Stage, t.st[i].Reply, t.st[i].Err = stage, r, err
	t.done[i] = true
}

func (t *transaction) run(ctx context.Context) *Error {
	c := t.c
	params, err := t.params()
	if err != nil {
		t.settle(err.Stage, Reply{}, err)
		return nil
	}
	if c.open {
		r, err := c.command(ctx, StageReset, "RSET", "RSET")
		if err != nil {
			return err
		}
		if !r.Positive() {
			return c.fail(protocolError(StageReset, "the server answers RSET with %s", r))
		}
		c.open = false
	}
	if err := t.envelope(ctx, params); err != nil {
		return err
	}
	if !t.body {
		c.open = true
		return c.broken
	}
	if t.taken == 0 {
		return t.nothing(ctx)
	}
	return t.content(ctx)
}

// params checks the mail against what the server offers, and gives the
// parameters of MAIL.
func (t *transaction) params() (string, *Error) {
	lacks := func(text string) *Error {
		return &Error{Stage: StageMail, Kind: Unsupported, Permanent: true, Err: errors.New(text)}
	}
	if len(t.m.To) == 0 {
		return "", badInput(StageRcpt, "no recipients")
	}
	utf8 := t.m.UTF8 || t.m.From.UTF8()
	for _, to := range t.m.To {
		if to.IsZero() {
			return "", badInput(StageRcpt, "a recipient is empty")
		}
		utf8 = utf8 || to.UTF8()
	}
	if !t.m.From.IsZero() && t.m.From.Domain() == "" {
		return "", badInput(StageMail, "the sender has no domain")
	}
	s := ""
	if limit, ok := t.c.Extension("SIZE"); ok && t.m.Size > 0 {
		if n, err := strconv.ParseInt(limit, 10, 64); err == nil && n > 0 && t.m.Size > n {
			return "", lacks("the message has " + strconv.FormatInt(t.m.Size, 10) + " bytes, the server takes " + limit)
		}
		s += " SIZE=" + strconv.FormatInt(t.m.Size, 10)
	}
	_, has8bit := t.c.Extension("8BITMIME")
	if t.m.EightBit {
		if !has8bit {
			return "", lacks("the message has bytes above 127 and the server does not offer 8BITMIME")
		}
		s += " BODY=8BITMIME"
	}
	if utf8 {
		if _, ok := t.c.Extension("SMTPUTF8"); !ok {
			return "", lacks("an address or the header has characters outside ASCII and the server does not offer SMTPUTF8")
		}
		s += " SMTPUTF8"
	}
	return s, nil
}

// groupLines keeps a group's commands under what any socket buffers, so that a
// server blocked on writing replies can always be read from (RFC 2920 3.1).
const groupLines = 50

// envelope sends MAIL, RCPT and DATA, in groups or one by one.
func (t *transaction) envelope(ctx context.Context, params string) *Error {
	lines := make([]line, 0, len(t.m.To)+2)
	lines = append(lines, line{verb: "MAIL", text: "MAIL FROM:<" + t.m.From.String() + ">" + params})
	for _, to := range t.m.To {
		lines = append(lines, line{verb: "RCPT", text: "RCPT TO:<" + to.String() + ">"})
	}
	lines = append(lines, line{verb: "DATA", text: "DATA"})
	group := 1
	if _, ok := t.c.Extension("PIPELINING"); ok {
		group = groupLines
	}
	for i := 0; i < len(lines); {
		if t.dead || i == len(lines)-1 && t.taken == 0 {
			return nil // nothing that follows can succeed
		}
		end := min(i+group, len(lines))
		asked, err := t.c.send(ctx, stageOf(lines[i].verb), lines[i:end]...)
		if err != nil {
			return err
		}
		for ; i < end; i++ {
			if err := t.answer(ctx, lines[i].verb, i-1, asked); err != nil {
				return err
			}
		}
	}
	return nil
}

func stageOf(verb string) Stage {
	switch verb {
	case "MAIL":
		return StageMail
	case "RCPT":
		return StageRcpt
	}
	return StageData
}

// answer reads the reply to one command of the envelope; rcpt is the index of
// the recipient where it is RCPT.
func (t *transaction) answer(ctx context.Context, verb string, rcpt int, asked time.Time) *Error {
	c, stage, limit := t.c, stageOf(verb), t.c.cfg.Timeouts.Command
	if verb == "DATA" {
		limit = c.cfg.Timeouts.Data
	}
	r, err := c.readReply(ctx, stage, verb, asked, limit)
	if err != nil {
		return err
	}
	refused := r.Temporary() || r.Permanent()
	switch {
	case refused && verb == "RCPT":
		if !t.done[rcpt] {
			t.verdict(rcpt, stage, r, refusal(stage, r))
		}
	case refused:
		t.dead = true
		t.settle(stage, r, refusal(stage, r))
	case verb == "RCPT" && r.Positive():
		if !t.done[rcpt] {
			t.taken++
		}
	case verb == "MAIL" && r.Positive():
	case verb == "DATA" && r.Code == 354:
		t.body = true
	default:
		return c.fail(protocolError(stage, "the server answers %s with %d", verb, r.Code))
	}
	if r.Code == 421 {
		return c.broken
	}
	return nil
}

// nothing ends a DATA that the server let pass without a recipient. RFC 2920
// section 3.1: the client sends a single dot. LMTP has no reply to that, since
// it replies for each recipient (RFC 2033 section 4.2).
func (t *transaction) nothing(ctx context.Context) *Error {
	c := t.c
	asked, err := c.send(ctx, StageBody, line{verb: ".", text: "."})
	if err != nil || c.srv.Scheme == LMTP {
		return err
	}
	if _, err := c.readReply(ctx, StageBody, ".", asked, c.cfg.Timeouts.End); err != nil {
		return err
	}
	c.open = true
	return c.broken
}

// content sends the message and reads the verdict, or with LMTP one for each
// recipient that RCPT accepted.
func (t *transaction) content(ctx context.Context) *Error {
	c := t.c
	if err := c.quiet(ctx, StageBody); err != nil {
		return err
	}
	asked, err := c.sendBody(ctx, t.m.Body)
	if err != nil {
		return err
	}
	for i := range t.st {
		if t.done[i] {
			continue
		}
		r, err := c.readReply(ctx, StageBody, ".", asked, c.cfg.Timeouts.End)
		if err != nil {
			err.Uncertain = true
			return err
		}
		var bad *Error
		switch {
		case r.Temporary(), r.Permanent():
			bad = refusal(StageBody, r)
		case !r.Positive():
			return c.fail(protocolError(StageBody, "the server answers the end of the message with %d", r.Code))
		}
		if c.srv.Scheme != LMTP {
			t.settle(StageBody, r, bad)
			break
		}
		t.verdict(i, StageBody, r, bad)
		if c.broken != nil {
			return c.broken
		}
	}
	return c.broken
}
