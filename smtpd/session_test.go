package smtpd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern.example/smtpd"
	"postern.example/smtpd/inbox"
	"postern.example/smtpd/store"
)

func TestOneMessage(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	c.script(`
		C: MAIL FROM:<"quoted local"@a.example> SIZE=100 BODY=8BITMIME
		S: 250 2.1.0
		C: RCPT TO:<b@b.example>
		S: 250 2.1.5
		C: RCPT TO:<hidden@c.example>
		S: 250 2.1.5
		C: RCPT TO:<Postmaster>
		S: 250 2.1.5
		C: DATA
		S: 354`)
	body := "From: a@a.example\r\nTo: b@b.example\r\nSubject: hi\r\n\r\n.dot\r\n\tt\x80\xff\r\n\r\n"
	c.send(strings.ReplaceAll(body, "\r\n.", "\r\n..") + ".\r\n")
	reply := c.expect("250 2.0.0 Ok: queued as ")
	id := strings.TrimSpace(strings.TrimPrefix(reply, "250 2.0.0 Ok: queued as "))
	if !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(id) {
		t.Errorf("id %q", id)
	}
	c.script("C: QUIT\nS: 221 2.0.0\nS: EOF")

	if got := s.body(id); got != body {
		t.Errorf("stored %q, want %q", got, body)
	}
	var m inbox.Message
	if err := json.Unmarshal(s.get("/api/v1/messages/"+id), &m); err != nil {
		t.Fatal(err)
	}
	want := store.Envelope{
		MailFrom: `"quoted local"@a.example`, MailParams: []string{"SIZE=100", "BODY=8BITMIME"},
		RcptTo: []store.Recipient{{Address: "b@b.example"}, {Address: "hidden@c.example"}, {Address: "postmaster"}},
		Via:    "ESMTP", Helo: "client.test.example", Remote: c.LocalAddr().String(),
	}
	if d := cmp.Diff(want, m.Envelope); d != "" {
		t.Error("envelope (-want +got):\n" + d)
	}
	if m.ID != id || m.Subject != "hi" || m.From != "a@a.example" {
		t.Errorf("summary %+v", m.Summary)
	}
	raw := string(s.get("/api/v1/messages/" + id + "/raw"))
	trace := strings.TrimSuffix(raw, body)
	form := `^Received: from client\.test\.example \(\[127\.0\.0\.1\]\)\r\n\tby mx\.test\.example with ESMTP id ` + id +
		`;\r\n\t[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n$`
	if !regexp.MustCompile(form).MatchString(trace) {
		t.Errorf("trace field %q", trace)
	}
	if strings.Contains(trace, "hidden") {
		t.Error("the trace field gives a recipient away")
	}
}

func TestExtensions(t *testing.T) {
	s := start(t, smtpd.Config{MaxSize: 12345})
	c := s.dial()
	c.expect("220")
	c.send("EHLO c\r\n")
	got := strings.Split(strings.TrimSpace(c.expect("250")), "\r\n")
	want := []string{
		"250-mx.test.example", "250-PIPELINING", "250-8BITMIME", "250-ENHANCEDSTATUSCODES", "250-CHUNKING",
		"250-SMTPUTF8", "250-BINARYMIME", "250-DSN", "250-SIZE 12345", "250 LIMITS RCPTMAX=1000",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("reply to EHLO (-want +got):\n" + d)
	}
}

const transaction = "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"

// TestPipelining sends everything in one segment and wants the replies in order.
func TestPipelining(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.dial()
	c.send("EHLO c\r\n" + transaction + "DATA\r\nSubject: 1\r\n\r\none\r\n.\r\n" +
		transaction + "BDAT 16\r\nSubject: 2\r\n\r\nabBDAT 4 LAST\r\nc\r\n." + "NOOP\r\nQUIT\r\n")
	for _, want := range []string{"220", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0 Ok: queued as", "250 2.1.0", "250 2.1.5",
		"250", "250 2.0.0 Ok: queued as", "250", "221"} {
		c.expect(want)
	}
	c.expectEOF()
	l := s.list()
	if len(l) != 2 {
		t.Fatalf("%d messages are stored, want 2", len(l))
	}
	if got, want := s.body(l[1].ID), "Subject: 1\r\n\r\none\r\n"; got != want {
		t.Errorf("first: stored %q, want %q", got, want)
	}
	if got, want := s.body(l[0].ID), "Subject: 2\r\n\r\nabc\r\n."; got != want {
		t.Errorf("second: stored %q, want %q", got, want)
	}
}

// TestEveryByteAlone sends a session octet by octet.
func TestEveryByteAlone(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.dial()
	body := "Subject: x\r\n\r\n..\r\n.a\r\n\r\n"
	go func() {
		for _, b := range []byte("EHLO c\r\n" + transaction + "DATA\r\n" + strings.ReplaceAll(body, "\r\n.", "\r\n..") + ".\r\nQUIT\r\n") {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	}()
	for _, want := range []string{"220", "250", "250", "250", "354", "250 2.0.0", "221"} {
		c.expect(want)
	}
	if got := s.stored(); got != body {
		t.Errorf("stored %q, want %q", got, body)
	}
}

// TestSmuggling sends every line end around a dot, whole, octet by octet, and in
// segments that part where it matters. What comes of it is one message or a
// refusal, never two messages.
func TestSmuggling(t *testing.T) {
	ends := map[string]string{"LF": "\n", "CR": "\r", "CRLF": "\r\n", "CRCRLF": "\r\r\n", "NUL": "\x00"}
	const behind = transaction + "DATA\r\nSubject: two\r\n\r\nsmuggled\r\n.\r\nQUIT\r\n"
	ways := map[string]func(c *client, before, after string){
		"whole": func(c *client, before, after string) {
			io.WriteString(c, "Subject: one\r\n\r\ntext"+before+"."+after+behind)
		},
		"octets": func(c *client, before, after string) {
			for _, b := range []byte("Subject: one\r\n\r\ntext" + before + "." + after + behind) {
				if _, err := c.Write([]byte{b}); err != nil {
					return // refused before its end
				}
			}
		},
		"segments": func(c *client, before, after string) {
			for _, segment := range []string{"Subject: one\r\n\r\ntext" + before, ".", after, behind} {
				if _, err := io.WriteString(c, segment); err != nil {
					return
				}
				until := time.Now().Add(2 * time.Millisecond)
				waitFor(c.t, func() bool { return time.Now().After(until) })
			}
		},
	}
	for before, b := range ends {
		for after, a := range ends {
			for way, send := range ways {
				t.Run(before+"."+after+"/"+way, func(t *testing.T) {
					s := start(t, smtpd.Config{}.WithLimits(smtpd.Limits{Linger: patience}))
					c := s.hello()
					c.send(transaction + "DATA\r\n")
					c.script("S: 250\nS: 250\nS: 354")
					send(c, b, a)
					if before == "CRLF" && after == "CRLF" {
						// This is the end of a message, and what follows are commands.
						for _, want := range []string{"250 2.0.0", "250", "250", "354", "250 2.0.0", "221"} {
							c.expect(want)
						}
						l := s.list()
						if len(l) != 2 || s.body(l[1].ID) != "Subject: one\r\n\r\ntext\r\n" {
							t.Errorf("%d messages are stored, want the two that were sent", len(l))
						}
						c.Close()
						return
					}
					c.expect("550 5.6.11")
					c.expectEOF()
					c.Close()
					if n := len(s.list()); n != 0 {
						t.Errorf("%d messages are stored", n)
					}
				})
			}
		}
	}
}

// TestCutShort ends the connection inside a message: nothing of it is kept.
func TestCutShort(t *testing.T) {
	for name, tail := range map[string]string{
		"in DATA":           "DATA\r\nSubject: x\r\n\r\nhalf",
		"before the dot":    "DATA\r\nSubject: x\r\n\r\nwhole\r\n",
		"inside the mark":   "DATA\r\nSubject: x\r\n\r\nwhole\r\n.",
		"in BDAT LAST":      "BDAT 1000 LAST\r\nSubject: x\r\n",
		"between chunks":    "BDAT 12\r\nSubject: x\r\n",
		"before chunk data": "BDAT 1000 LAST\r\n",
		"in a command":      "DATA\r\nSubject: x\r\n\r\n.\r\nMAIL FROM:<",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{})
			c := s.hello()
			c.send(transaction + tail)
			c.expect("250")
			c.expect("250")
			if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := c.reply(); err != nil {
					break
				}
			}
			want := 0
			if name == "in a command" {
				want = 1
			}
			if n := len(s.list()); n != want {
				t.Errorf("%d messages are stored, want %d", n, want)
			}
		})
	}
}

// TestTimeout lets a body stall: what comes after the time-out is no command.
func TestTimeout(t *testing.T) {
	s := start(t, smtpd.Config{}.WithLimits(smtpd.Limits{Data: 500 * time.Millisecond, Command: 500 * time.Millisecond}))
	c := s.hello()
	c.send(transaction + "DATA\r\n")
	c.expect("250")
	c.expect("250")
	c.expect("354")
	c.send("Subject: x\r\n\r\nhalf\r\n")
	c.expect("421 4.4.2")
	// The server does not read commands any more; writing may fail or not.
	c.Write([]byte(".\r\n" + transaction + "DATA\r\nSubject: two\r\n\r\n\r\n.\r\n"))
	if text, _ := c.reply(); strings.HasPrefix(text, "250") {
		t.Errorf("after the time-out: %q", text)
	}
	if n := len(s.list()); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
	idle := s.dial()
	idle.expect("220")
	idle.expect("421 4.4.2")
	idle.expectEOF()
}

func TestSizeLimit(t *testing.T) {
	const limit = 2000
	message := func(n int) string { return "Subject: x\r\n\r\n" + strings.Repeat("y", n-16) + "\r\n" }
	ways := map[string]func(c *client, body string){
		"DATA": func(c *client, body string) {
			c.send(transaction + "DATA\r\n")
			c.expect("250")
			c.expect("250")
			c.expect("354")
			c.send(body + ".\r\n")
		},
		"BDAT": func(c *client, body string) {
			c.send(transaction)
			c.expect("250")
			c.expect("250")
			c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
		},
	}
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{MaxSize: limit}.WithLimits(smtpd.Limits{Discard: 100_000, Linger: 100 * time.Millisecond}))
			c := s.hello()
			send(c, message(limit))
			c.expect("250 2.0.0")
			if got := s.stored(); got != message(limit) {
				t.Errorf("%d bytes are stored, want %d", len(got), limit)
			}
			send(c, message(limit+1))
			c.expect("552 5.3.4")
			send(c, message(limit+50_000))
			c.expect("552 5.3.4")
			send(c, message(100))
			c.expect("250 2.0.0") // the session lives on
			if n := len(s.list()); n != 2 {
				t.Errorf("%d messages are stored, want 2", n)
			}
			send(c, message(limit+200_000))
			c.expect("552 5.3.4")
			c.expectEOF()
		})
	}
}

// TestLongLines takes body lines of any length.
func TestLongLines(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	body := "Subject: x\r\n\r\n" + strings.Repeat("z", 200_000) + "\r\n"
	c.send(transaction + "DATA\r\n" + body + ".\r\n")
	for _, want := range []string{"250", "250", "354", "250 2.0.0"} {
		c.expect(want)
	}
	if got := s.stored(); got != body {
		t.Errorf("%d bytes are stored, want %d", len(got), len(body))
	}
}

func TestManyRecipients(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	c.send("MAIL FROM:<>\r\n")
	c.expect("250")
	for i := range 1001 {
		c.send(fmt.Sprintf("RCPT TO:<r%d@b.example>\r\n", i))
		if i < 1000 {
			c.expect("250")
		} else {
			c.expect("452 4.5.3")
		}
	}
	c.send("DATA\r\n")
	c.expect("354")
	c.send("\r\n.\r\n")
	c.expect("250")
	rcpt := s.list()[0].RcptTo
	if len(rcpt) != 1000 || rcpt[0] != "r0@b.example" || rcpt[999] != "r999@b.example" {
		t.Errorf("%d recipients are kept, first %v", len(rcpt), rcpt[:min(len(rcpt), 1)])
	}
}

// TestBrokenMessage is kept as it came and marked.
func TestBrokenMessage(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	body := "From: a@a.example\r\nContent-Type: multipart/mixed\r\n\r\n--nothing\r\n"
	c.send(transaction + "DATA\r\n" + body + ".\r\n")
	for _, want := range []string{"250", "250", "354", "250 2.0.0"} {
		c.expect(want)
	}
	if got := s.stored(); got != body {
		t.Errorf("stored %q, want %q", got, body)
	}
	if m := s.list()[0]; !m.Unparsed || m.From != "a@a.example" {
		t.Errorf("summary %+v, want it marked unparsed", m)
	}
}

// TestLinger goes on sending behind the last reply, as a client does that looks
// for replies only when it is done: the connection is not reset under it.
func TestLinger(t *testing.T) {
	s := start(t, smtpd.Config{MaxSize: 2000}.WithLimits(smtpd.Limits{Discard: 10_000, Linger: patience}))
	c := s.hello()
	c.send(transaction + "DATA\r\n")
	c.script("S: 250\nS: 250\nS: 354")
	c.send(strings.Repeat("12345678\r\n", 1500))
	c.expect("552 5.3.4")
	c.expectEOF()
	for range 50 {
		c.send("still sending\r\n")
	}
	c.Close()
}
