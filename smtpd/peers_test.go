package smtpd_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"postern.example/smtpd"
	"postern.example/smtpd/inbox"
)

func prefixes(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func readLines(t *testing.T, text []byte) []inbox.Line {
	t.Helper()
	var list []inbox.Line
	for line := range strings.Lines(string(text)) {
		var l inbox.Line
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, l)
	}
	return list
}

func (s *server) sessions() []inbox.Session {
	s.t.Helper()
	var l struct{ Sessions []inbox.Session }
	if err := json.Unmarshal(s.get("/api/v1/sessions"), &l); err != nil {
		s.t.Fatal(err)
	}
	return l.Sessions
}

// remote sends one message and returns the client's address as it is kept.
func (s *server) remote(c *client) string {
	s.t.Helper()
	c.send("EHLO c\r\n" + transaction + "DATA\r\nSubject: x\r\n\r\n.\r\n")
	for _, want := range []string{"250", "250", "250", "354", "250 2.0.0"} {
		c.expect(want)
	}
	var m inbox.Message
	if err := json.Unmarshal(s.get("/api/v1/messages/"+s.list()[0].ID), &m); err != nil {
		s.t.Fatal(err)
	}
	return m.Envelope.Remote
}

func TestProxy(t *testing.T) {
	signature := "\r\n\r\n\x00\r\nQUIT\n"
	v4 := "\xc0\x00\x02\x01" + "\xc0\x00\x02\x02" + "\x03\xe8\x00\x19"
	v6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 15) + "\x01" + "\x03\xe8\x00\x19"
	tests := map[string]struct{ header, want string }{
		"v1 tcp4":    {"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n", "192.0.2.1:1000"},
		"v1 tcp6":    {"PROXY TCP6 2001:db8::1 ::1 1000 25\r\n", "[2001:db8::1]:1000"},
		"v1 unknown": {"PROXY UNKNOWN\r\n", "itself"},
		"v2 tcp4":    {signature + "\x21\x11\x00\x0c" + v4, "192.0.2.1:1000"},
		"v2 tlv":     {signature + "\x21\x11\x00\x0f" + v4 + "\x04\x00\x00", "192.0.2.1:1000"},
		"v2 tcp6":    {signature + "\x21\x21\x00\x24" + v6, "[2001:db8::1]:1000"},
		"v2 local":   {signature + "\x20\x00\x00\x00", "itself"},

		"none":          {"EHLO first.client.example\r\n", ""},
		"v1 mixed":      {"PROXY TCP4 2001:db8::1 ::1 1000 25\r\n", ""},
		"v1 port":       {"PROXY TCP4 192.0.2.1 192.0.2.2 70000 25\r\n", ""},
		"v1 sign":       {"PROXY TCP4 192.0.2.1 192.0.2.2 +100 25\r\n", ""},
		"v1 short":      {"PROXY TCP4 192.0.2.1\r\n", ""},
		"v1 long":       {"PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", ""},
		"v1 zone":       {"PROXY TCP6 fe80::1%lo ::1 1000 25\r\n", ""},
		"v2 version":    {signature + "\x31\x11\x00\x0c" + v4, ""},
		"v2 command":    {signature + "\x22\x11\x00\x0c" + v4, ""},
		"v2 too small":  {signature + "\x21\x11\x00\x04" + v4, ""},
		"v2 too large":  {signature + "\x21\x11\xff\xff" + strings.Repeat("x", 3000), ""},
		"v2 unix":       {signature + "\x21\x31\x00\x04" + "xxxx", ""},
		"v2 half of it": {signature[:12] + "\x21\x11", ""},
	}
	s := start(t, smtpd.Config{ProxyFrom: prefixes(t, "127.0.0.0/8")}.WithLimits(smtpd.Limits{Linger: 1}))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := s.dial()
			c.t = t
			c.send(tt.header)
			if tt.want == "" {
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				if text, _ := c.reply(); text != "" {
					t.Errorf("a broken header was answered with %q", text)
				}
				return
			}
			c.expect("220")
			want := tt.want
			if want == "itself" {
				want = c.LocalAddr().String()
			}
			if got := s.remote(c); got != want {
				t.Errorf("the client is %s, want %s", got, want)
			}
		})
	}
	t.Run("from a stranger", func(t *testing.T) {
		s := start(t, smtpd.Config{ProxyFrom: prefixes(t, "192.0.2.0/24")})
		c := s.dial()
		c.expect("220")
		c.script("C: PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\nS: 500")
	})
}

func TestXclient(t *testing.T) {
	s := start(t, smtpd.Config{XclientFrom: prefixes(t, "127.0.0.1/32")})
	c := s.dial()
	c.expect("220")
	c.send("EHLO c\r\n")
	if caps := c.expect("250"); !strings.Contains(caps, "250-XCLIENT ADDR PORT PROTO HELO LOGIN\r\n") {
		t.Errorf("offered:\n%s", caps)
	}
	c.script(`
		C: XCLIENT NOSUCH=1
		S: 501 5.5.4
		C: XCLIENT ADDR=nowhere
		S: 501 5.5.4
		C: XCLIENT HELO=a+0Ab
		S: 501 5.5.4
		C: XCLIENT ADDR
		S: 501 5.5.4
		C: MAIL FROM:<a@a.example>
		S: 250
		C: XCLIENT ADDR=192.0.2.1
		S: 503 5.5.1
		C: RSET
		S: 250
		C: XCLIENT ADDR=IPv6:2001:db8::7 PORT=1234 HELO=real.client.example LOGIN=ann+40example PROTO=ESMTP
		S: 220 mx.test.example ESMTP
		C: MAIL FROM:<a@a.example>
		S: 503 5.5.1`)
	if got := s.remote(c); got != "[2001:db8::7]:1234" {
		t.Errorf("the client is %s", got)
	}
	raw := string(s.get("/api/v1/messages/" + s.list()[0].ID + "/raw"))
	if !strings.HasPrefix(raw, "Received: from real.client.example ([IPv6:2001:db8::7])\r\n\tby mx.test.example with ESMTPA id ") {
		t.Errorf("trace field: %.200q", raw)
	}

	stranger := start(t, smtpd.Config{XclientFrom: prefixes(t, "192.0.2.1/32")}).hello()
	stranger.script("C: XCLIENT ADDR=192.0.2.1\nS: 550 5.7.0")
}
