package smtpd

import (
	"net/netip"
	"strconv"
	"strings"
)

// xclientNames are the attributes of XCLIENT that are kept: who the client is,
// in the words of a named peer in front of us (Postfix' XCLIENT_README).
const xclientNames = "ADDR PORT PROTO HELO LOGIN"

// xclient takes the client's identity from a peer that may say it. All that was
// said before is forgotten, and a greeting begins anew.
func (g *gate) xclient(arg string) []byte {
	switch {
	case !g.mayXclient:
		g.answer("550 5.7.0 XCLIENT is for named peers")
		return nil
	case g.busy:
		g.answer("503 5.5.1 XCLIENT goes before MAIL")
		return nil
	}
	addr, port, helo, user := g.client.Addr(), g.client.Port(), g.xhelo, g.user
	for word := range strings.FieldsSeq(arg) {
		name, value, ok := strings.Cut(word, "=")
		text, decoded := decodeXtext(value)
		if !ok || !decoded || !printable(text) {
			g.answer("501 5.5.4 XCLIENT takes NAME=value in xtext")
			return nil
		}
		unknown := strings.EqualFold(text, "[UNAVAILABLE]") || strings.EqualFold(text, "[TEMPUNAVAIL]")
		bad := false
		switch strings.ToUpper(name) {
		case "ADDR":
			if !unknown {
				if len(text) > 5 && strings.EqualFold(text[:5], "IPV6:") {
					text = text[5:]
				}
				a, err := netip.ParseAddr(text)
				addr, bad = a.Unmap(), err != nil || a.Zone() != ""
			}
		case "PORT":
			if !unknown {
				n, err := strconv.ParseUint(text, 10, 16)
				port, bad = uint16(n), err != nil
			}
		case "PROTO":
			// The EHLO or HELO that follows says the same.
			bad = !strings.EqualFold(text, "ESMTP") && !strings.EqualFold(text, "SMTP")
		case "HELO":
			if helo = text; unknown {
				helo = ""
			}
			bad = strings.ContainsAny(helo, " \t") || len(helo) > 255
		case "LOGIN":
			if user = text; unknown {
				user = ""
			}
		default:
			bad = true
		}
		if bad {
			g.answer("501 5.5.4 XCLIENT takes " + xclientNames)
			return nil
		}
	}
	g.client = netip.AddrPortFrom(addr, port)
	g.xhelo, g.helo, g.user, g.anew = helo, "", user, true
	g.answer("220 " + g.host + " " + g.protocol() + " Postern")
	g.mute++
	return []byte("RSET\r\n")
}

// decodeXtext reads RFC 3461's xtext (section 4).
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			b.WriteByte(byte(n))
			i += 2
		case c <= ' ' || c == '=' || c >= 0x7f:
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}
