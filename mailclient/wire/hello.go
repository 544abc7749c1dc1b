package wire

import (
	"context"
	"strings"
	"time"
)

// unknownCommand tells "I do not know EHLO" from "I do not want you".
func unknownCommand(code int) bool {
	return code == 500 || code == 501 || code == 502 || code == 504
}

func (c *Conn) greeting(ctx context.Context) *Error {
	r, err := c.readReply(ctx, StageGreeting, "", time.Now(), c.cfg.Timeouts.Greeting)
	switch {
	case err != nil:
		return err
	case r.Temporary(), r.Permanent():
		return refusal(StageGreeting, r)
	case r.Code != 220:
		return c.fail(protocolError(StageGreeting, "the server greets with %d, not 220", r.Code))
	}
	c.greet = r
	return nil
}

// hello says EHLO, or HELO where the server does not know EHLO (RFC 5321
// section 3.2), or LHLO to an LMTP server, which has no older form.
func (c *Conn) hello(ctx context.Context) *Error {
	c.ext = nil
	verb := "EHLO"
	if c.srv.Scheme == LMTP {
		verb = "LHLO"
	}
	r, err := c.command(ctx, StageHello, verb, verb+" "+c.cfg.Hello)
	if err == nil && verb == "EHLO" && unknownCommand(r.Code) {
		verb = "HELO"
		r, err = c.command(ctx, StageHello, verb, verb+" "+c.cfg.Hello)
	}
	switch {
	case err != nil:
		return err
	case r.Temporary(), r.Permanent():
		return refusal(StageHello, r)
	case r.Code != 250:
		return c.fail(protocolError(StageHello, "the server answers %s with %d", verb, r.Code))
	}
	c.ext = map[string]string{}
	if verb == "HELO" {
		return nil
	}
	for _, l := range r.Lines[1:] {
		key, params, _ := strings.Cut(strings.TrimSpace(l), " ")
		// AUTH=LOGIN is how servers offered it before RFC 2554 was settled.
		if k, v, ok := strings.Cut(key, "="); ok && strings.EqualFold(k, "AUTH") {
			key, params = k, v+" "+params
		}
		key = strings.ToUpper(key)
		if old := c.ext[key]; old != "" && key == "AUTH" {
			params = old + " " + params
		}
		c.ext[key] = strings.TrimSpace(params)
	}
	return nil
}
