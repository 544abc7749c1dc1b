package smtpd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"postern.example/mailclient/address"
	"postern.example/smtpd/admit"
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

// binary tells whether the body may hold any octets (RFC 3030, section 3).
func (c command) binary() bool {
	for _, p := range c.params {
		if strings.EqualFold(p, "BODY=BINARYMIME") {
			return true
		}
	}
	return false
}

// What the library reads instead of an address. It never gets to parse one, so
// it cannot misread one; the session takes the gate's.
const (
	standInMail    = "MAIL FROM:<>"
	standInAddress = "<one@recipient.invalid>"
	standInRcpt    = "RCPT TO:" + standInAddress
)

// command takes one command line and returns what the library is to read for
// it, CRLF included, or nothing when it was answered here.
func (g *gate) command(line []byte) []byte {
	verb, arg, _ := strings.Cut(string(line), " ")
	g.verb = strings.ToUpper(verb)
	g.logCommand(line, arg)
	if g.anew && needsHello[g.verb] {
		g.answer("503 5.5.1 EHLO first: TLS began a new conversation")
		return nil
	}
	if g.verb != "RCPT" && g.verb != "DATA" && g.verb != "BDAT" && !g.idle() {
		return nil
	}
	switch g.verb {
	case "MAIL", "RCPT":
		return g.envelope(arg)
	case "BDAT":
		return g.chunk(arg)
	case "DATA":
		if g.mail.binary() {
			g.answer("503 5.5.1 BINARYMIME goes by BDAT") // RFC 3030, section 3
			return nil
		}
	}
	for _, c := range line {
		if c >= 0x80 {
			g.answer("500 5.5.2 ASCII only, but for addresses")
			return nil
		}
	}
	switch g.verb {
	case "EHLO", "HELO", "LHLO":
		return g.hello(arg)
	case "STARTTLS":
		return g.startTLS(arg)
	case "XCLIENT":
		return g.xclient(arg)
	case "RSET", "QUIT":
		if strings.TrimSpace(arg) != "" {
			g.answer("501 5.5.4 " + g.verb + " takes no argument")
			return nil
		}
		return append([]byte(g.verb), "\r\n"...)
	case "DATA", "NOOP", "VRFY", "EXPN", "HELP", "AUTH":
		return append(bytes.TrimRight(line, " \t"), "\r\n"...)
	}
	g.answer("500 5.5.2 Unknown command")
	return nil
}

var needsHello = map[string]bool{"MAIL": true, "RCPT": true, "DATA": true, "BDAT": true, "AUTH": true}

// logCommand keeps what the client said, but for its secrets.
func (g *gate) logCommand(line []byte, arg string) {
	text := string(line)
	if mech, rest, ok := strings.Cut(arg, " "); ok && g.verb == "AUTH" {
		text = "AUTH " + mech + " (response left out)"
		if strings.TrimSpace(rest) == "" {
			text = "AUTH " + mech
		}
	}
	g.log.client(text, len(line)+2)
}

func (g *gate) hello(arg string) []byte {
	name := strings.TrimSpace(arg)
	if name == "" || len(name) > 255 || strings.ContainsAny(name, " \t") {
		g.answer("501 5.5.4 " + g.verb + " takes the client's name, 255 octets at most")
		return nil
	}
	if lmtp := g.role == roleLMTP; lmtp != (g.verb == "LHLO") {
		if lmtp {
			g.answer("500 5.5.1 This is LMTP: LHLO is expected")
		} else {
			g.answer("500 5.5.1 This is SMTP: EHLO is expected")
		}
		return nil
	}
	g.helo, g.esmtp, g.anew = name, g.verb != "HELO", false
	if g.xhelo != "" {
		g.helo = g.xhelo
	}
	return []byte(g.verb + " client.invalid\r\n")
}

// mayAuth tells whether AUTH is on and a password is safe here.
func (g *gate) mayAuth() bool {
	return g.auth && (g.secure != nil || g.clearAuth || g.client.Addr().IsLoopback())
}

// startTLS begins TLS (RFC 3207). All that was said before is forgotten, by the
// library too: it gets to read RSET, whose reply nobody sees.
func (g *gate) startTLS(arg string) []byte {
	switch {
	case g.policy.tls == nil:
		g.answer("502 5.5.1 TLS is not offered")
	case g.secure != nil:
		g.answer("503 5.5.1 TLS is there already")
	case strings.TrimSpace(arg) != "":
		g.answer("501 5.5.4 STARTTLS takes no argument")
	case g.user != "":
		g.answer("503 5.5.1 TLS begins before AUTH, not after")
	case g.in.Buffered() > 0:
		// Whoever sends commands behind STARTTLS, before TLS, may be somebody in
		// between (CVE-2011-0411). None of them is run.
		g.shut("554 5.5.0 Nothing may follow STARTTLS before TLS", errInjected)
	default:
		g.answer("220 2.0.0 TLS may begin")
		if err := g.flush(); err != nil {
			g.stop(err)
			return nil
		}
		if g.handshake() != nil {
			return nil
		}
		g.anew, g.helo, g.esmtp = true, "", false
		g.mute++
		return []byte("RSET\r\n")
	}
	return nil
}

// handshake puts TLS between the client and the rest. When it fails, the
// connection is good for nothing more, and nothing more is said in the clear.
func (g *gate) handshake() error {
	g.raw.SetDeadline(time.Now().Add(g.limit.handshake))
	// Behind a PROXY header, TLS may have begun in what is buffered already.
	t := tls.Server(&buffered{g.raw, g.in}, g.policy.tls)
	err := t.Handshake()
	g.raw.SetDeadline(time.Time{})
	if err != nil {
		g.metrics.tls.WithLabelValues("failed").Inc()
		return g.stop(fmt.Errorf("%w: %w", errHandshake, err))
	}
	g.metrics.tls.WithLabelValues("ok").Inc()
	state := t.ConnectionState()
	g.conn, g.secure = t, &state
	g.in = bufio.NewReaderSize(t, bufferSize)
	g.log.network("(" + tlsName(state) + " begins)")
	return nil
}

// buffered is a connection some of whose bytes are read already.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

// Read implements net.Conn.
func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// tlsName names version and cipher, for people.
func tlsName(s tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(s.Version), " ", "v") + " with " + tls.CipherSuiteName(s.CipherSuite)
}

// envelope reads the address and the parameters of MAIL and RCPT.
func (g *gate) envelope(arg string) []byte {
	switch {
	case g.verb == "MAIL" && g.busy:
		g.answer("503 5.5.1 A transaction is under way: RSET ends it")
		return nil
	case g.verb == "MAIL" && g.needAuth && g.user == "":
		g.answer("530 5.7.0 AUTH first")
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
	var r admit.Refusal
	if g.verb == "MAIL" {
		if r = g.adm.Message(g.now()); r.IsZero() {
			g.mail = cmd
		}
	} else if g.busy { // before MAIL, the library refuses it
		r = g.adm.Recipients(1, g.now())
		g.rcpt = cmd
	}
	if !r.IsZero() {
		g.refuse(r)
		return nil
	}
	words := []string{standIn}
	for _, p := range cmd.params {
		if strings.EqualFold(p, "BODY=BINARYMIME") {
			p = "BODY=8BITMIME" // so that the library takes DATA, which stands for BDAT
		}
		words = append(words, p)
	}
	return []byte(strings.Join(words, " ") + "\r\n")
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
		if key == "REQUIRETLS" && g.secure == nil {
			return "530 5.7.0 REQUIRETLS goes with TLS" // RFC 8689, section 4.2.1
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

// via names how the message travels, for the Received field (RFC 3848, RFC
// 6531, section 4.3).
func (g *gate) via() string {
	name := "SMTP"
	switch {
	case g.role == roleLMTP:
		name = "LMTP"
	case g.esmtp && !g.mail.has("SMTPUTF8"):
		name = "ESMTP"
	}
	if g.mail.has("SMTPUTF8") {
		name = "UTF8" + name
	}
	if name == "SMTP" {
		return name // HELO: there are no words for TLS with it
	}
	if g.secure != nil {
		name += "S"
	}
	if g.user != "" {
		name += "A"
	}
	return name
}

// accept notes that the message under way is stored, while its reply is due.
func (g *gate) accept(id string, seq int64) {
	if len(g.accepted) < maxSessionIDs {
		g.accepted = append(g.accepted, id)
	}
	g.adm.Progress()
	g.stored, g.mark = seq, len(g.log.since.list)
}

// forget ends the transaction. When a message of it was stored, it returns that
// one's position and the lines that were said since.
func (g *gate) forget() (seq int64, tail []byte) {
	if g.stored != 0 {
		seq, tail = g.stored, g.log.next(g.mark)
	}
	g.mail, g.rcpt, g.rcpts, g.answered = command{}, command{}, nil, 0
	g.busy, g.stored, g.mark = false, 0, 0
	return seq, tail
}
