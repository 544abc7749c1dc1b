package smtpd_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern.example/smtpd"
	"postern.example/smtpd/admit"
)

// trust is what a client needs to believe a self-made certificate.
func trust(t *testing.T, data string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(data, "smtpd-self.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the file")
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// secure begins TLS on the connection.
func (c *client) secure(cfg *tls.Config) {
	c.t.Helper()
	tc := tls.Client(c.Conn, cfg)
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.r = tc, newReader(tc)
}

func (c *client) startTLS(cfg *tls.Config) {
	c.t.Helper()
	c.script("C: STARTTLS\nS: 220 2.0.0")
	c.secure(cfg)
}

func TestStartTLS(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data, TLS: smtpd.TLSSelf})
	c := s.dial()
	c.expect("220")
	c.send("EHLO c\r\n")
	if caps := c.expect("250"); !strings.Contains(caps, "250-STARTTLS\r\n") || strings.Contains(caps, "REQUIRETLS") {
		t.Errorf("offered in the clear:\n%s", caps)
	}
	c.send(transaction) // forgotten with the rest
	c.expect("250")
	c.expect("250")
	c.startTLS(trust(t, data))
	c.script("C: DATA\nS: 503 5.5.1\nC: MAIL FROM:<a@a.example>\nS: 503 5.5.1\nC: EHLO c")
	if caps := c.expect("250"); strings.Contains(caps, "STARTTLS") || !strings.Contains(caps, "250-REQUIRETLS\r\n") {
		t.Errorf("offered under TLS:\n%s", caps)
	}
	c.script(`
		C: RCPT TO:<b@b.example>
		S: 503 5.5.1
		C: STARTTLS
		S: 503 5.5.1
		C: MAIL FROM:<a@a.example> REQUIRETLS
		S: 250
		C: RCPT TO:<b@b.example>
		S: 250
		C: DATA
		S: 354`)
	c.send("Subject: x\r\n\r\nunder TLS\r\n.\r\n")
	c.expect("250 2.0.0")
	c.script("C: QUIT\nS: 221\nS: EOF")
	if got := s.stored(); got != "Subject: x\r\n\r\nunder TLS\r\n" {
		t.Errorf("stored %q", got)
	}
	raw := string(s.get("/api/v1/messages/" + s.list()[0].ID + "/raw"))
	if !strings.Contains(raw, "\r\n\t(using TLSv1.3 with TLS_") || !strings.Contains(raw, " with ESMTPS id ") {
		t.Errorf("trace field: %.300q", raw)
	}
}

// TestStartTLSInjection sends commands in the segment of STARTTLS.
func TestStartTLSInjection(t *testing.T) {
	s := start(t, smtpd.Config{TLS: smtpd.TLSSelf})
	c := s.hello()
	c.send("STARTTLS\r\n" + transaction + "DATA\r\nSubject: injected\r\n\r\n.\r\n")
	c.expect("554 5.5.0")
	c.expectEOF()
	if n := len(s.list()); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// TestHandshakeFails speaks plain text where TLS is due: the connection closes,
// and nothing is taken for a command.
func TestHandshakeFails(t *testing.T) {
	s := start(t, smtpd.Config{TLS: smtpd.TLSSelf, SMTP: []string{"127.0.0.1:0"}, SMTPS: []string{"127.0.0.1:0"}})
	plain := s.hello()
	plain.script("C: STARTTLS\nS: 220")
	implicit := s.dialTo("tcp", s.at.SMTPS[0].String())
	for name, c := range map[string]*client{"starttls": plain, "implicit": implicit} {
		t.Run(name, func(t *testing.T) {
			io.WriteString(c, "EHLO c\r\n"+transaction+"DATA\r\nSubject: x\r\n\r\n.\r\n")
			text, err := io.ReadAll(c.r)
			if err != nil || strings.Contains(string(text), "250") || strings.Contains(string(text), "550") {
				t.Errorf("got %q, %v", text, err)
			}
		})
	}
	if n := len(s.list()); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

func TestSMTPS(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data, TLS: smtpd.TLSSelf, SMTPS: []string{"127.0.0.1:0"}})
	c := s.dialTo("tcp", s.at.SMTPS[0].String())
	c.secure(trust(t, data))
	c.script("S: 220\nC: EHLO c\nS: 250")
	c.send(transaction + "BDAT 14 LAST\r\nSubject: x\r\n\r\n")
	for _, want := range []string{"250", "250", "250 2.0.0"} {
		c.expect(want)
	}
	if got := s.stored(); got != "Subject: x\r\n\r\n" {
		t.Errorf("stored %q", got)
	}
}

// TestCutShortUnderTLS ends a chunk early, once with TLS's own end and once
// without.
func TestCutShortUnderTLS(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data, TLS: smtpd.TLSSelf})
	for name, end := range map[string]func(c *client) error{
		"close_notify": func(c *client) error { return c.Conn.(*tls.Conn).CloseWrite() },
		"FIN": func(c *client) error {
			return c.Conn.(*tls.Conn).NetConn().(interface{ CloseWrite() error }).CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.hello()
			c.startTLS(trust(t, data))
			c.script("C: EHLO c\nS: 250")
			c.send(transaction + "BDAT 1000 LAST\r\nSubject: x\r\n\r\n")
			c.expect("250")
			c.expect("250")
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := c.reply(); err != nil {
					break
				}
			}
			if n := len(s.list()); n != 0 {
				t.Errorf("%d messages are stored", n)
			}
		})
	}
}

func TestSelfMadeCertificateStays(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data, TLS: smtpd.TLSSelf})
	cfg := trust(t, data)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, smtpd.Config{Data: data, TLS: smtpd.TLSSelf})
	c := s.hello()
	c.startTLS(cfg) // believes the first one only
	if st, err := os.Stat(filepath.Join(data, "smtpd-self.key")); err != nil || st.Mode().Perm()&0o077 != 0 && filepath.Separator == '/' {
		t.Errorf("the key has mode %v (%v)", st.Mode(), err)
	}
}

// TestReloadCertificate replaces the files under a running server.
func TestReloadCertificate(t *testing.T) {
	made := func() (dir string) {
		dir = t.TempDir()
		s := start(t, smtpd.Config{Data: dir, TLS: smtpd.TLSSelf})
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	one, two, files := made(), made(), t.TempDir()
	cert, key := filepath.Join(files, "cert.pem"), filepath.Join(files, "key.pem")
	use := func(dir string) {
		for from, to := range map[string]string{"smtpd-self.crt": cert, "smtpd-self.key": key} {
			data, err := os.ReadFile(filepath.Join(dir, from))
			if err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	use(one)
	s := start(t, smtpd.Config{TLSCert: cert, TLSKey: key})
	s.hello().startTLS(trust(t, one))
	use(two)
	if err := s.srv.Reload(); err != nil {
		t.Fatal(err)
	}
	s.hello().startTLS(trust(t, two))
	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.srv.Reload(); err == nil {
		t.Error("a broken key was reloaded")
	}
	s.hello().startTLS(trust(t, two)) // stays what it was
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuthAny(t *testing.T) {
	s := start(t, smtpd.Config{Auth: smtpd.AuthAny})
	c := s.dial()
	c.expect("220")
	c.send("EHLO c\r\n")
	if caps := c.expect("250"); !strings.Contains(caps, "250-AUTH PLAIN LOGIN\r\n") {
		t.Errorf("offered on loopback:\n%s", caps)
	}
	c.script(`
		C: AUTH NOSUCH
		S: 504 5.5.4
		C: AUTH PLAIN !!!
		S: 501 5.5.2
		C: AUTH PLAIN ` + b64("no zeros") + `
		S: 501 5.5.2
		C: AUTH PLAIN ` + b64("boss\x00ann\x00secret") + `
		S: 535 5.7.8
		C: AUTH PLAIN ` + b64("\x00\x00secret") + `
		S: 535 5.7.8
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: *
		S: 501
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: ` + b64("ann") + `
		S: 334 UGFzc3dvcmQ6
		C: ` + b64("secret") + `
		S: 235 2.7.0
		C: AUTH PLAIN
		S: 503 5.5.1`)
	c.send(transaction + "DATA\r\nSubject: x\r\n\r\n.\r\n")
	for _, want := range []string{"250", "250", "354", "250 2.0.0"} {
		c.expect(want)
	}
	raw := string(s.get("/api/v1/messages/" + s.list()[0].ID + "/raw"))
	if !strings.Contains(raw, " with ESMTPA id ") {
		t.Errorf("trace field: %.300q", raw)
	}
}

// TestAuthNeedsTLS asks from another machine, which a named peer speaks for.
func TestAuthNeedsTLS(t *testing.T) {
	loopback := prefixes(t, "127.0.0.1/32")
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data, TLS: smtpd.TLSSelf, Auth: smtpd.AuthAny, ProxyFrom: loopback})
	c := s.dial()
	c.send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n")
	c.expect("220")
	c.send("EHLO c\r\n")
	if caps := c.expect("250"); strings.Contains(caps, "AUTH") {
		t.Errorf("offered in the clear:\n%s", caps)
	}
	c.script("C: AUTH PLAIN " + b64("\x00ann\x00secret") + "\nS: 538 5.7.11")
	c.startTLS(trust(t, data))
	c.script("C: EHLO c\nS: 250\nC: AUTH PLAIN " + b64("\x00ann\x00secret") + "\nS: 235")

	s = start(t, smtpd.Config{Auth: smtpd.AuthAny, AuthPlaintext: true, ProxyFrom: loopback})
	c = s.dial()
	c.send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\nEHLO c\r\nAUTH PLAIN " + b64("\x00ann\x00secret") + "\r\n")
	c.script("S: 220\nS: 250\nS: 235")
}

// TestTranscript asks for the conversation that carried a message.
func TestTranscript(t *testing.T) {
	s := start(t, smtpd.Config{Auth: smtpd.AuthAny})
	c := s.hello()
	c.script("C: AUTH PLAIN " + b64("\x00ann\x00s3cret") + "\nS: 235\nC: AUTH LOGIN\nS: 503")
	for i := range 2 {
		c.send(transaction + fmt.Sprintf("DATA\r\nSubject: number %d\r\n\r\nsecret text\r\n.\r\n", i))
		for _, want := range []string{"250", "250", "354", "250 2.0.0"} {
			c.expect(want)
		}
	}
	c.script("C: FOO\nS: 500\nC: QUIT\nS: 221\nS: EOF")
	l := s.list()
	for i, m := range l {
		lines := readLines(t, s.get("/api/v1/messages/"+m.ID+"/transcript"))
		var said []string
		var last time.Duration
		for _, line := range lines {
			if line.At < last {
				t.Errorf("%v is told after %v", line.At, last)
			}
			last = line.At
			said = append(said, line.From[:1]+": "+line.Text)
		}
		text := strings.Join(said, "\n")
		for _, want := range []string{
			"s: 220 mx.test.example", "c: EHLO client.test.example", "s: 250 LIMITS", "c: AUTH PLAIN (response left out)", "s: 235",
			"c: MAIL FROM:<a@a.example>", "c: RCPT TO:<b@b.example>", "c: DATA", "s: 354", "bytes of message", "s: 250 2.0.0 Ok: queued as " + m.ID,
		} {
			if strings.Count(text, want) != 1 {
				t.Errorf("message %d: %q stands %d times in\n%s", i, want, strings.Count(text, want), text)
			}
		}
		if strings.Contains(text, "secret") || strings.Contains(text, "s3cret") || strings.Contains(text, b64("\x00ann\x00s3cret")) ||
			strings.Contains(text, l[1-i].ID) || strings.Contains(text, "FOO") {
			t.Errorf("message %d: what does not belong there stands in\n%s", i, text)
		}
	}
	// The session is told of once it has ended.
	c.Close()
	waitFor(t, func() bool { return len(s.sessions()) == 1 })
	got := s.sessions()[0]
	if got.User != "ann" || got.Helo != "client.test.example" || got.Listener != "smtp" || len(got.Messages) != 2 ||
		len(got.Refused) != 2 || !strings.HasPrefix(got.Refused[1].Text, "500 5.5.2") || got.Cause != "" {
		t.Errorf("session %+v", got)
	}
	if text := fmt.Sprint(got.Transcript); strings.Contains(text, "s3cret") || strings.Contains(text, b64("\x00ann\x00s3cret")) || !strings.Contains(text, "QUIT") {
		t.Errorf("transcript of the session: %s", text)
	}
}

// TestRefusedSessionIsKept looks at what is kept of one that came to nothing.
func TestRefusedSessionIsKept(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	c.script("C: MAIL FROM:<a@a.example>\nS: 250\nC: RCPT TO:<nobody>\nS: 501\nC: MAIL FROM:\x1b\nS: 500\nS: EOF")
	c.Close()
	waitFor(t, func() bool { return len(s.sessions()) == 1 })
	got := s.sessions()[0]
	if len(got.Refused) != 2 || !strings.Contains(got.Cause, "control character") || len(got.Messages) != 0 {
		t.Errorf("session %+v", got)
	}
}

// TestEndlessSession keeps no more of a session than its bounds.
func TestEndlessSession(t *testing.T) {
	s := start(t, smtpd.Config{Admit: admit.Config{IdleCommands: -1}})
	c := s.hello()
	for range 2000 {
		c.send("NOOP " + strings.Repeat("x", 1000) + "\r\n")
		c.expect("250")
	}
	c.script("C: QUIT\nS: 221\nS: EOF")
	c.Close()
	waitFor(t, func() bool { return len(s.sessions()) == 1 })
	got := s.sessions()[0]
	size := 0
	for _, l := range got.Transcript {
		size += len(l.Text)
	}
	if size > 16<<10 || got.LinesLeftOut < 3000 {
		t.Errorf("%d bytes are kept, %d lines left out", size, got.LinesLeftOut)
	}
}

func TestLMTP(t *testing.T) {
	if filepath.Separator == '\\' {
		t.Skip("needs sockets in the file system")
	}
	dir, err := os.MkdirTemp("", "lmtp") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	s := start(t, smtpd.Config{LMTP: []string{path}})
	c := s.dialTo("unix", path)
	c.script(`
		S: 220 mx.test.example LMTP
		C: EHLO c
		S: 500 5.5.1
		C: LHLO c
		S: 250
		C: MAIL FROM:<a@a.example>
		S: 250
		C: RCPT TO:<one@b.example>
		S: 250
		C: RCPT TO:<broken>
		S: 501
		C: RCPT TO:<"two two"@b.example>
		S: 250
		C: DATA
		S: 354`)
	c.send("Subject: x\r\n\r\n.\r\n")
	c.expect("250 2.0.0 <one@b.example> Ok: queued as ")
	c.expect(`250 2.0.0 <"two two"@b.example> Ok: queued as `)
	c.send(transaction + "RCPT TO:<c@c.example>\r\nBDAT 14 LAST\r\nSubject: y\r\n\r\n")
	for _, want := range []string{"250", "250", "250", "250 2.0.0 <b@b.example> Ok", "250 2.0.0 <c@c.example> Ok"} {
		c.expect(want)
	}
	c.script("C: QUIT\nS: 221\nS: EOF")
	if n := len(s.list()); n != 2 {
		t.Errorf("%d messages are stored", n)
	}
	raw := string(s.get("/api/v1/messages/" + s.list()[1].ID + "/raw"))
	if !strings.HasPrefix(raw, "Received: from c (local socket)\r\n\tby mx.test.example with LMTP id ") {
		t.Errorf("trace field: %.200q", raw)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestBinary takes any octets by BDAT when they were announced.
func TestBinary(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	body := "Subject: x\n\r\x00\r\n\xff.\r"
	c.send("MAIL FROM:<a@a.example> BODY=BINARYMIME\r\nRCPT TO:<b@b.example>\r\n")
	c.script("S: 250\nS: 250\nC: DATA\nS: 503 5.5.1")
	c.send(fmt.Sprintf("BDAT 5\r\n%sBDAT %d LAST\r\n%s", body[:5], len(body)-5, body[5:]))
	c.expect("250")
	c.expect("250 2.0.0")
	if got := s.stored(); got != body {
		t.Errorf("stored %q, want %q", got, body)
	}
}

// TestBareNewlineNormalize takes lines that end in LF, and still ends a message
// at CRLF.CRLF alone.
func TestBareNewlineNormalize(t *testing.T) {
	tests := map[string]struct{ sent, want string }{
		"lines":             {"Subject: x\n\nline\nmixed\r\n\r\n.\r\n", "Subject: x\r\n\r\nline\r\nmixed\r\n\r\n"},
		"dot, LF LF":        {"a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"},
		"dot, LF CRLF":      {"a\n.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"},
		"dot, CRLF LF":      {"a\r\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"},
		"stuffed":           {"a\n..b\n..\n.\r\n\r\n.\r\n", "a\r\n.b\r\n.\r\n.\r\n\r\n"},
		"dot first":         {".\nb\r\n.\r\n", ".\r\nb\r\n"},
		"empty":             {".\r\n", ""},
		"long, near buffer": {strings.Repeat("x\n", 9000) + ".\n" + "\r\n.\r\n", strings.Repeat("x\r\n", 9000) + ".\r\n\r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{BareNewline: smtpd.BareNormalize})
			c := s.dial()
			c.send("EHLO c\nMAIL FROM:<a@a.example>\nRCPT TO:<b@b.example>\nDATA\n")
			c.script("S: 220\nS: 250\nS: 250\nS: 250\nS: 354")
			c.send(tt.sent + "QUIT\n")
			c.script("S: 250 2.0.0\nS: 221")
			if got := s.stored(); got != tt.want {
				t.Errorf("stored %q, want %q", got, tt.want)
			}
		})
	}
	for name, body := range map[string]string{"bare CR": "a\rb\n\r\n.\r\n", "NUL": "a\x00\n\r\n.\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{BareNewline: smtpd.BareNormalize})
			c := s.hello()
			c.send(transaction + "DATA\r\n")
			c.script("S: 250\nS: 250\nS: 354")
			c.send(body)
			c.script("S: 550 5.6.11\nS: EOF")
		})
	}
}
