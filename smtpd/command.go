package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"postern.example/mailclient/address"
)

// command is what a MAIL or RCPT said.
type command struct {
	path   address.Address
	params []string // as sent
}

// has tells whether a parameter of that name, given in upper case, was sent.
func (c command) has(name string) bool {
	for _, p := range c.params {
		key, _, _ := strings.Cut(p, "=")
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// What the library reads instead of an address. It never gets to parse one, so
// it cannot misread one; the session takes the gate's.
const (
	standInMail = "MAIL FROM:<>"
	standInRcpt = "RCPT TO:<one@recipient.invalid>"
)

// command takes one command line and returns what the library is to read for
// it, CRLF included, or nothing when it was answered here.
func (g *gate) command(line []byte) []byte {
	verb, arg, _ := strings.Cut(string(line), " ")
	g.verb = strings.ToUpper(verb)
	switch g.verb {
	case "MAIL", "RCPT":
		return g.envelope(arg)
	case "BDAT":
		return g.chunk(arg)
	}
	for _, c := range line {
		if c >= 0x80 {
			g.answer("500 5.5.2 ASCII only, but for addresses")
			return nil
		}
	}
	switch g.verb {
	case "EHLO", "HELO":
		return g.hello(arg)
	case "DATA", "RSET", "QUIT", "NOOP", "VRFY", "EXPN", "HELP", "AUTH", "STARTTLS":
		return append(bytes.TrimRight(line, " \t"), "\r\n"...)
	}
	// Unknown ones go on, to be counted; the library would stumble over some.
	return []byte("XUNK\r\n")
}

func (g *gate) hello(arg string) []byte {
	name := strings.TrimSpace(arg)
	if name == "" || len(name) > 255 || strings.ContainsAny(name, " \t") {
		g.answer("501 5.5.4 " + g.verb + " takes the client's name, 255 octets at most")
		return nil
	}
	g.helo, g.esmtp = name, g.verb == "EHLO"
	return []byte(g.verb + " client.invalid\r\n")
}

// envelope reads the address and the parameters of MAIL and RCPT.
func (g *gate) envelope(arg string) []byte {
	if g.verb == "MAIL" && g.busy {
		g.answer("503 5.5.1 A transaction is under way: RSET ends it")
		return nil
	}
	keyword, enhanced, standIn := "FROM:", "5.1.7", standInMail
	if g.verb == "RCPT" {
		keyword, enhanced, standIn = "TO:", "5.1.3", standInRcpt
	}
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		g.answer("501 5.5.4 " + g.verb + " " + keyword + "<address> is expected")
		return nil
	}
	// Many clients put a space there, which RFC 5321 does not have.
	path, rest, err := address.ParsePath(strings.TrimLeft(arg[len(keyword):], " \t"))
	switch {
	case err != nil,
		rest != "" && rest[0] != ' ',
		g.verb == "RCPT" && path.IsZero(),
		g.verb == "MAIL" && !path.IsZero() && path.Domain() == "":
		g.answer("501 " + enhanced + " The address cannot be read: " + keyword + "<local-part@domain> is expected")
		return nil
	}
	cmd := command{path: path, params: strings.Fields(rest)}
	if reply := g.checkParams(cmd); reply != "" {
		g.answer(reply)
		return nil
	}
	if g.verb == "MAIL" {
		g.mail = cmd
	} else {
		g.rcpt = cmd
	}
	return []byte(strings.Join(append([]string{standIn}, cmd.params...), " ") + "\r\n")
}

// checkParams looks at what the library does not: it returns a refusal or
// nothing.
func (g *gate) checkParams(cmd command) string {
	seen := map[string]bool{}
	for _, p := range cmd.params {
		key, value, _ := strings.Cut(p, "=")
		key = strings.ToUpper(key)
		if seen[key] {
			return "501 5.5.4 A parameter stands twice"
		}
		seen[key] = true
		for _, c := range []byte(p) {
			if c >= 0x80 && key != "ORCPT" {
				return "501 5.5.4 Parameters are ASCII"
			}
		}
		if key == "SIZE" && g.verb == "MAIL" {
			n, err := strconv.ParseUint(value, 10, 64)
			if errors.Is(err, strconv.ErrRange) || err == nil && n > uint64(g.maxSize) {
				return g.tooLarge()
			}
		}
	}
	if cmd.path.UTF8() && !g.mail.has("SMTPUTF8") && !(g.verb == "MAIL" && seen["SMTPUTF8"]) {
		return "553 5.6.7 The address needs SMTPUTF8"
	}
	return ""
}

// chunk reads the arguments of BDAT (RFC 3030, section 2). Without a size there
// is no telling where the next command begins, so a fault ends the session.
func (g *gate) chunk(arg string) []byte {
	args := strings.Fields(arg)
	last := len(args) == 2 && strings.EqualFold(args[1], "LAST")
	if len(args) != 1 && !last {
		return g.unframed("501 5.5.4 BDAT takes a size and LAST or nothing")
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || n < 0 || args[0][0] == '+' {
		return g.unframed("501 5.5.4 BDAT takes a size in octets")
	}
	if n > g.maxSize+g.limit.discard {
		g.shut(g.tooLarge(), errEndless)
		return nil
	}
	if !g.chunking {
		g.chunking, g.size, g.scan = true, 0, scanner{}
	}
	if last {
		g.chunking = false
	}
	g.mode, g.left, g.last = inChunk, n, last
	line := fmt.Sprintf("BDAT %d", n)
	if last {
		line += " LAST"
	}
	return []byte(line + "\r\n")
}

func (g *gate) unframed(reply string) []byte {
	g.shut(reply, errFraming)
	return nil
}

// reword turns a reply line of the library into one that RFC 5321 asks for and
// that repeats nothing the client said.
func (g *gate) reword(line string) string {
	code, sep, text := "", "", ""
	if len(line) >= 4 {
		code, sep, text = line[:3], line[3:4], line[4:]
	}
	switch {
	case g.verb == "" && code == "220":
		return "220 " + g.host + " ESMTP Postern"
	case (g.verb == "EHLO" || g.verb == "HELO") && code == "250":
		return g.rewordHello(sep, text)
	case g.verb == "MAIL" && code == "250":
		return "250 2.1.0 Ok"
	case g.verb == "RCPT" && code == "250":
		return "250 2.1.5 Ok"
	case (g.verb == "MAIL" || g.verb == "RCPT" || g.verb == "DATA" || g.verb == "BDAT" || g.verb == "AUTH") &&
		code == "502" && strings.HasPrefix(text, "5.5.1 "):
		return "503" + line[3:]
	case (g.verb == "MAIL" || g.verb == "RCPT") && (code == "500" || code == "504") && strings.HasPrefix(text, "5.5.4 "):
		return "555" + line[3:]
	case g.verb == "QUIT" && code == "221":
		return "221 2.0.0 " + g.host + " closes"
	case code == "500" && strings.Contains(text, "XUNK"):
		return "500 5.5.2 Unknown command"
	case code == "500" && strings.HasPrefix(text, "5.5.1 Too many errors"):
		return "421 4.7.0 " + g.host + " closes: too many errors"
	}
	return line
}

// rewordHello words the reply to EHLO (RFC 5321, section 4.1.1.1) and HELO.
func (g *gate) rewordHello(sep, text string) string {
	if !g.esmtp {
		return "250 " + g.host
	}
	switch {
	case strings.HasPrefix(text, "Hello "):
		text = g.host
	case text == "SIZE":
		text = fmt.Sprintf("SIZE %d", g.maxSize)
	}
	return "250" + sep + text
}
