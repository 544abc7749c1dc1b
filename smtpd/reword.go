package smtpd

import (
	"fmt"
	"strings"
)

// reword turns a reply line of the library into one that RFC 5321 asks for and
// that repeats nothing the client said.
func (g *gate) reword(line string) string {
	code, sep, text := "", "", ""
	if len(line) >= 4 {
		code, sep, text = line[:3], line[3:4], line[4:]
	}
	switch {
	case g.verb == "" && code == "220":
		return "220 " + g.host + " " + g.protocol() + " Postern"
	case (g.verb == "EHLO" || g.verb == "HELO" || g.verb == "LHLO") && code == "250":
		return g.rewordHello(sep, text)
	case g.verb == "MAIL" && code == "250":
		return "250 2.1.0 Ok"
	case g.verb == "RCPT" && code == "250":
		return "250 2.1.5 Ok"
	case (g.verb == "MAIL" || g.verb == "RCPT" || g.verb == "DATA" || g.verb == "BDAT" || g.verb == "AUTH") &&
		code == "502" && strings.HasPrefix(text, "5.5.1 ") && !strings.HasSuffix(text, errAuthOff.Message):
		return "503" + line[3:]
	case (g.verb == "MAIL" || g.verb == "RCPT") && (code == "500" || code == "504") && strings.HasPrefix(text, "5.5.4 "):
		return "555" + line[3:]
	case g.verb == "AUTH" && code == "502" && strings.HasPrefix(text, "5.5.4 "):
		return "501" + line[3:]
	case g.verb == "AUTH" && code == "235":
		return "235 2.7.0 Authenticated"
	case g.verb == "AUTH" && code == "454" && strings.HasSuffix(text, "Invalid base64 data"):
		return "501 5.5.2 Not base64" // RFC 4954, section 4
	case g.verb == "QUIT" && code == "221":
		return "221 2.0.0 " + g.host + " closes"
	case strings.Contains(text, standInAddress):
		return g.rewordRecipient(line)
	case code == "354":
		return "354 End the message with <CR><LF>.<CR><LF>"
	case code == "500" && strings.HasPrefix(text, "5.5.1 Too many errors"):
		return "421 4.7.0 " + g.host + " closes: too many errors"
	}
	return line
}

func (g *gate) protocol() string {
	if g.role == roleLMTP {
		return "LMTP"
	}
	return "ESMTP"
}

// rewordHello words the reply to EHLO (RFC 5321, section 4.1.1.1) and HELO.
func (g *gate) rewordHello(sep, text string) string {
	if !g.esmtp {
		return "250 " + g.host
	}
	switch {
	case strings.HasPrefix(text, "Hello "):
		text = g.host
		if g.policy.tls != nil && g.secure == nil {
			text += "\r\n250-STARTTLS"
		}
		if g.secure != nil {
			text += "\r\n250-REQUIRETLS"
		}
		if g.mayXclient {
			text += "\r\n250-XCLIENT " + xclientNames
		}
	case text == "SIZE":
		text = fmt.Sprintf("SIZE %d", g.maxSize)
	}
	return "250" + sep + text
}

// rewordRecipient puts the recipient's name back into LMTP's reply for it (RFC
// 2033, section 4.2: in the order of the RCPT commands).
func (g *gate) rewordRecipient(line string) string {
	if g.answered >= len(g.rcpts) {
		return line
	}
	rcpt := g.rcpts[g.answered]
	g.answered++
	return strings.Replace(line, standInAddress, "<"+rcpt.String()+">", 1)
}
