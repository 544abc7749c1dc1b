package smtpd_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"postern.example/smtpd"
	"postern.example/smtpd/admit"
)

// TestChunksGivenUp drops chunked messages in every way there is and sends whole
// ones behind them, in one write: each verdict is for its own message, and what
// is acknowledged is what is stored.
func TestChunksGivenUp(t *testing.T) {
	half := transaction + "BDAT 4\r\nhalf"
	whole := func(n int) string {
		text := fmt.Sprintf("Subject: whole %d\r\n\r\n", n)
		return transaction + fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text)
	}
	for name, end := range map[string]struct{ say, reply string }{
		"RSET":         {"RSET\r\n", "250"},
		"EHLO":         {"EHLO c\r\n", "250"},
		"NOOP, RSET":   {"NOOP\r\nRSET\r\n", "250 250"},
		"MAIL, RSET":   {"MAIL FROM:<x@a.example>\r\nRSET\r\n", "503 250"},
		"DATA, RSET":   {"DATA\r\nRSET\r\n", "503 250"},
		"chunk, RSET":  {"BDAT 2\r\n\r\nRSET\r\n", "250 250"},
		"empty, RSET":  {"BDAT 0\r\nRSET\r\n", "250 250"},
		"unknown, one": {"FOO\r\nRSET\r\n", "500 250"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{Admit: admit.Config{Errors: -1, IdleCommands: -1}})
			c := s.hello()
			acknowledged := map[string]string{}
			for n := range 20 {
				c.send(half + end.say + whole(n))
				for _, want := range strings.Fields("250 250 250 " + strings.ReplaceAll(end.reply, "500", "503") + " 250 250") {
					c.expect(want)
				}
				id := strings.TrimSpace(strings.TrimPrefix(c.expect("250 2.0.0 Ok: queued as "), "250 2.0.0 Ok: queued as "))
				acknowledged[id] = fmt.Sprintf("Subject: whole %d\r\n\r\n", n)
			}
			if l := s.list(); len(l) != len(acknowledged) || len(l) != 20 {
				t.Errorf("%d are stored, %d acknowledged", len(l), len(acknowledged))
			}
			for id, want := range acknowledged {
				if got := s.body(id); got != want {
					t.Errorf("%s is %q, want %q", id, got, want)
				}
			}
		})
	}
	t.Run("QUIT", func(t *testing.T) {
		s := start(t, smtpd.Config{})
		c := s.hello()
		c.send(half + "QUIT\r\n")
		c.script("S: 250\nS: 250\nS: 250 2.0.0 Continue\nS: 221\nS: EOF")
		if n := len(s.list()); n != 0 {
			t.Errorf("%d messages are stored", n)
		}
	})
}

// TestChunks cuts messages into chunks at every place.
func TestChunks(t *testing.T) {
	s := start(t, smtpd.Config{Admit: admit.Config{IdleCommands: -1}})
	c := s.hello()
	body := "Subject: x\r\n\r\n.\r\n..\r\n"
	for cut := range len(body) + 1 {
		c.send(transaction + fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", cut, body[:cut], len(body)-cut, body[cut:]))
		c.script("S: 250\nS: 250\nS: 250 2.0.0 Continue\nS: 250 2.0.0 Ok")
	}
	for _, m := range s.list() {
		if got := s.body(m.ID); got != body {
			t.Errorf("stored %q, want %q", got, body)
		}
	}
	c.script("C: BDAT 5 LAST\nC: abc\nS: 503 5.5.1\nC: NOOP\nS: 250") // "abc\r\n" is the chunk
}

// TestChunkEndsInCR sends a bare CR as the last octet, in the last chunk and in
// the one before an empty last one.
func TestChunkEndsInCR(t *testing.T) {
	for name, say := range map[string]string{"last": "BDAT 3 LAST\r\nab\r", "empty last": "BDAT 3\r\nab\rBDAT 0 LAST\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{})
			c := s.hello()
			c.send(transaction + say)
			c.script("S: 250\nS: 250")
			if name == "empty last" {
				c.expect("250 2.0.0 Continue")
			}
			c.script("S: 550 5.6.11\nS: EOF")
			if n := len(s.list()); n != 0 {
				t.Errorf("%d messages are stored", n)
			}
		})
	}
}

// TestHalfClosed leaves in the middle of a message: nothing is said to that,
// least of all that the message was refused for good.
func TestHalfClosed(t *testing.T) {
	for name, say := range map[string]string{"DATA": "DATA\r\nSubject: x\r\n", "BDAT": "BDAT 100 LAST\r\nSubject: x\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := start(t, smtpd.Config{})
			c := s.hello()
			c.send(transaction + say)
			c.script("S: 250\nS: 250")
			if name == "DATA" {
				c.expect("354")
			}
			c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			if text, err := io.ReadAll(c.r); err != nil || len(text) > 0 {
				t.Errorf("got %q, %v", text, err)
			}
		})
	}
}

// TestRepliesAfterIdling collects more replies than the buffer holds, longer
// after the last one than a write may take.
func TestRepliesAfterIdling(t *testing.T) {
	s := start(t, smtpd.Config{}.WithLimits(smtpd.Limits{Write: 300 * time.Millisecond}))
	c := s.hello()
	until := time.Now().Add(500 * time.Millisecond)
	waitFor(t, func() bool { return time.Now().After(until) })
	c.send("MAIL FROM:<a@a.example>\r\n" + strings.Repeat("RCPT TO:<b@b.example>\r\n", 500) + "RSET\r\n")
	for range 502 {
		c.expect("250")
	}
}

// TestDrainWithoutReader ends the server while a client sends and never reads.
func TestDrainWithoutReader(t *testing.T) {
	s := start(t, smtpd.Config{Admit: admit.Config{IdleCommands: -1}}.WithLimits(smtpd.Limits{Drain: 50 * time.Millisecond}))
	c := s.hello()
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for {
		if _, err := io.WriteString(c, strings.Repeat("NOOP\r\n", 1000)); err != nil {
			break // all buffers are full
		}
	}
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("the server took %v to end", d)
	}
}
