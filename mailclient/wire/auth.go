package wire

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// maxSecret keeps AUTH lines under the 12288 octets of RFC 4954 section 4.
const maxSecret = 4000

// auth authenticates with PLAIN (RFC 4616) or else LOGIN. Both hand the
// password over, so neither is used towards another machine in the clear.
func (c *Conn) auth(ctx context.Context) *Error {
	if c.cfg.User == "" {
		return nil
	}
	denied := func(text string) *Error {
		return &Error{Stage: StageAuth, Kind: AuthFailed, Permanent: true, Err: errors.New(text)}
	}
	if c.tls == nil && !c.local {
		return denied("the connection is in the clear and the server on another machine: the password stays here")
	}
	params, ok := c.Extension("AUTH")
	if !ok {
		return denied("the server offers no AUTH")
	}
	encode := base64.StdEncoding.EncodeToString
	plain := encode([]byte("\x00" + c.cfg.User + "\x00" + c.cfg.Password))
	user, password := encode([]byte(c.cfg.User)), encode([]byte(c.cfg.Password))
	for _, s := range []string{plain, password, c.cfg.Password} {
		if s != "" {
			c.blanks = append(c.blanks, s)
		}
	}
	defer func() { c.blanks = nil }()

	mechs := strings.Fields(strings.ToUpper(params))
	var r Reply
	var err *Error
	switch {
	case slices.Contains(mechs, "PLAIN"):
		r, err = c.ask(ctx, StageAuth, line{verb: "AUTH", text: "AUTH PLAIN " + plain, show: "AUTH PLAIN " + blanked})
	case slices.Contains(mechs, "LOGIN"):
		r, err = c.command(ctx, StageAuth, "AUTH", "AUTH LOGIN")
		for _, s := range []string{user, password} {
			if err == nil && r.Code == 334 {
				r, err = c.ask(ctx, StageAuth, line{verb: "AUTH", text: s, show: blanked})
			}
		}
	default:
		return denied("the server offers neither AUTH PLAIN nor AUTH LOGIN")
	}
	switch {
	case err != nil:
		return err
	case r.Permanent():
		e := refusal(StageAuth, r)
		e.Kind = AuthFailed
		return e
	case r.Temporary():
		return refusal(StageAuth, r)
	case r.Code != 235:
		return c.fail(protocolError(StageAuth, "the server answers AUTH with %d", r.Code))
	}
	return nil
}
