package smtpd_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postern.example/smtpd"
	"postern.example/smtpd/admit"
)

// byteWise sends every octet in a write, and so in a segment, of its own.
type byteWise struct{ *client }

func (b byteWise) say(text string) {
	for _, c := range []byte(text) {
		b.send(string([]byte{c}))
	}
}

// dialogue runs a script: lines "C: text" are sent with CRLF, where text may be
// quoted as in Go; "S: prefix" is a reply, "S: EOF" the end of the connection.
func (c *client) dialogue(script string, say func(string)) {
	c.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		who, text, ok := strings.Cut(line, ": ")
		switch {
		case !ok:
			c.t.Fatalf("script line %q", line)
		case who == "S" && text == "EOF":
			c.expectEOF()
		case who == "S":
			c.expect(text)
		case who == "C":
			if strings.HasPrefix(text, `"`) {
				var err error
				if text, err = strconv.Unquote(text); err != nil {
					c.t.Fatalf("script line %q: %v", line, err)
				}
			}
			say(text + "\r\n")
		default:
			c.t.Fatalf("script line %q", line)
		}
	}
}

// TestDialogues runs each script in testdata/dialogues in whole lines, octet by
// octet, and over TLS. None of them sends a message, and none is stored.
func TestDialogues(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{
		Data: data, TLS: smtpd.TLSSelf, SMTP: []string{"127.0.0.1:0"}, SMTPS: []string{"127.0.0.1:0"},
	})
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scripts are there (%v)", len(files), err)
	}
	cert := trust(t, data)
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name+"/lines", func(t *testing.T) {
			c := s.dial()
			c.t = t
			c.dialogue(string(script), c.send)
		})
		t.Run(name+"/octets", func(t *testing.T) {
			c := s.dial()
			c.t = t
			c.dialogue(string(script), func(text string) {
				if len(text) > 1000 { // refused before its end
					c.send(text)
					return
				}
				byteWise{c}.say(text)
			})
		})
		t.Run(name+"/tls", func(t *testing.T) {
			c := s.dialTo("tcp", s.at.SMTPS[0].String())
			c.t = t
			tc := tls.Client(c.Conn, cert)
			c.Conn, c.r = tc, newReader(tc)
			c.dialogue(string(script), c.send)
		})
	}
	if l := s.list(); len(l) != 0 {
		t.Errorf("%d messages were stored by dialogues that send none", len(l))
	}
}

// TestStates says every command in every state.
func TestStates(t *testing.T) {
	text, err := os.ReadFile("testdata/states.txt")
	if err != nil {
		t.Fatal(err)
	}
	reach := map[string]string{
		"greeted": "S: 220",
		"hello":   "S: 220\nC: EHLO c\nS: 250",
		"mail":    "S: 220\nC: EHLO c\nS: 250\nC: MAIL FROM:<a@a.example>\nS: 250",
		"rcpt":    "S: 220\nC: EHLO c\nS: 250\nC: MAIL FROM:<a@a.example>\nS: 250\nC: RCPT TO:<b@b.example>\nS: 250",
		"chunk": "S: 220\nC: EHLO c\nS: 250\nC: MAIL FROM:<a@a.example>\nS: 250\nC: RCPT TO:<b@b.example>\nS: 250\n" +
			"C: BDAT 7\nC: x: 12\nS: 250 2.0.0 Continue",
	}
	s := start(t, smtpd.Config{Admit: admit.Config{Errors: -1}}.WithLimits(smtpd.Limits{Linger: 1}))
	var states []string
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case states == nil:
			states = cells[1:]
			continue
		}
		rows++
		for i, state := range states {
			t.Run(state+"/"+cells[0], func(t *testing.T) {
				c := s.dial()
				c.t = t
				c.dialogue(reach[state], c.send)
				c.dialogue("C: "+cells[0]+"\nS: "+cells[i+1], c.send)
				c.Close()
			})
		}
	}
	if rows < 25 || len(states) != len(reach) {
		t.Errorf("%d commands in %d states", rows, len(states))
	}
}
