// Package address is the mailbox of RFC 5321: one type, strict on the way in
// and safe on the way out.
//
// What Parse and ParsePath let through is, printed by String, one token of an
// SMTP command: it holds no CR, LF, NUL or other control, no space, < or >
// outside a quoted local part, and no character that turns the direction of
// the text around it. It also parses back to an equal value, so an address
// cannot change its meaning between two programs that use this package.
//
// The local part is kept as its meaning, not as its spelling: "a"@x and a@x
// are equal, and quotes come back only where the grammar needs them. Nothing
// else is rewritten. Neither half is folded in case (RFC 5321 section 2.4
// leaves the local part to its host), and UTF-8 (RFC 6531) is not normalised,
// since a byte changed on the way may name another mailbox.
//
// Everything here is pure: no look-ups, no state, safe for concurrent use.
package address

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of RFC 5321 section 4.5.3.1, in octets. A local part counts without
// its quotes, a path with its angle brackets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
	maxLabel  = 63
)

// Address is a mailbox. Values are comparable with ==; the zero value is the
// null reverse-path, "<>".
type Address struct {
	local  string
	domain string
}

// Parse reads a Mailbox (RFC 5321 section 4.1.2, with RFC 6531 section 3.3):
// local@domain without angle brackets and nothing around it. The domain is a
// host name of one or more labels, where an underscore is tolerated because
// hosts have them, or an address literal ([192.0.2.1], [IPv6:2001:db8::1]).
func Parse(s string) (Address, error) {
	a, rest, err := parseMailbox(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("unexpected %s after the domain", first(rest))
	}
	if err != nil {
		return Address{}, fail(s, err)
	}
	return a, nil
}

// ParsePath reads a path as MAIL and RCPT carry it: s starts with "<", and rest
// is what follows the closing ">". "<>" gives the zero Address; "<postmaster>"
// in any case gives the local part "postmaster" and no domain (RFC 5321 section
// 4.5.1). A source route, "<@a,@b:user@host>", is checked and dropped (appendix
// C). Which of these a command may carry is for the caller to judge.
func ParsePath(s string) (a Address, rest string, err error) {
	in, ok := strings.CutPrefix(s, "<")
	if !ok {
		return Address{}, "", fail(s, errors.New("a path starts with <"))
	}
	if rest, ok := strings.CutPrefix(in, ">"); ok {
		return Address{}, rest, nil
	}
	if n := len(postmaster); len(in) > n && in[n] == '>' && strings.EqualFold(in[:n], postmaster) {
		return Address{local: postmaster}, in[n+1:], nil
	}
	in, err = dropRoute(in)
	if err == nil {
		a, in, err = parseMailbox(in)
	}
	if err == nil && !strings.HasPrefix(in, ">") {
		err = errors.New("the path has no closing >")
		if in != "" {
			err = fmt.Errorf("unexpected %s after the domain", first(in))
		}
	}
	if err != nil {
		return Address{}, "", fail(s, err)
	}
	return a, in[1:], nil
}

const postmaster = "postmaster"

// String is the address as a command carries it, without angle brackets: the
// local part quoted only where it must be. Parse(a.String()) gives a, but for
// the two without a domain, which only ParsePath reads: the zero Address, whose
// String is empty, and postmaster.
func (a Address) String() string {
	if a.domain == "" {
		return a.local
	}
	if isDotAtom(a.local) {
		return a.local + "@" + a.domain
	}
	var b strings.Builder
	b.Grow(len(a.local) + len(a.domain) + 8)
	b.WriteByte('"')
	for i := 0; i < len(a.local); i++ {
		if c := a.local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.local[i])
	}
	b.WriteString(`"@`)
	b.WriteString(a.domain)
	return b.String()
}

// Local is the local part without quotes and backslashes. It may hold spaces
// and any printable character; use String to put an address on the wire.
func (a Address) Local() string { return a.local }

// Domain is the domain as written, an address literal with its brackets. It is
// empty for the null reverse-path and for a bare postmaster.
func (a Address) Domain() string { return a.domain }

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// UTF8 reports whether a holds anything outside ASCII, so that carrying it
// needs SMTPUTF8 (RFC 6531).
func (a Address) UTF8() bool { return !isASCII(a.local) || !isASCII(a.domain) }

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// fail names the input, cut and escaped: the error may end up in a log.
func fail(s string, err error) error {
	const most = 80
	if len(s) > most {
		return fmt.Errorf("parse address %s...: %w", strconv.QuoteToASCII(s[:most]), err)
	}
	return fmt.Errorf("parse address %s: %w", strconv.QuoteToASCII(s), err)
}
