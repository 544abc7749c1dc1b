package mailclient_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern.example/mailclient"
	"postern.example/mailclient/wire"
)

// sample is a conversation with one of everything that a trace can show.
func sample() mailclient.Trace {
	var t mailclient.Trace
	at := time.Duration(0)
	add := func(e wire.Event) {
		at += 123456 * time.Nanosecond
		e.At = at
		e.Bytes = int64(len(e.Text) + 2)
		if e.From == wire.Network {
			e.Bytes = 0
		}
		t.Events = append(t.Events, e)
	}
	net := func(k wire.EventKind, verb, text string, failed bool) {
		add(wire.Event{From: wire.Network, Kind: k, Verb: verb, Text: text, Took: time.Millisecond, Failed: failed})
	}
	write := 0
	c := func(verb, text string) {
		if verb != "RCPT" && text != "DATA" && verb != "." {
			write++
		}
		add(wire.Event{From: wire.Client, Kind: wire.Command, Verb: verb, Text: text, Write: write})
	}
	s := func(verb string, lines ...string) {
		for i, l := range lines {
			e := wire.Event{From: wire.Remote, Kind: wire.Answer, Verb: verb, Text: l}
			if i == len(lines)-1 {
				e.Took = 42 * time.Microsecond
			}
			add(e)
		}
	}
	net(wire.Resolve, "", "mail.example is 192.0.2.1, 192.0.2.2", false)
	net(wire.Connect, "tcp", "connect to 192.0.2.1:25: connection refused", true)
	net(wire.Connect, "tcp", "192.0.2.2:25", false)
	s("", "220 mail.example ESMTP \x1b[31m")
	c("EHLO", "EHLO localhost")
	s("EHLO", "250-mail.example", "250-PIPELINING", "250-SIZE 26214400", "250-AUTH PLAIN LOGIN", "250-XYZZY", "250-STARTTLS", "250 LIMITS MAILMAX=1")
	c("STARTTLS", "STARTTLS")
	s("STARTTLS", "220 go")
	net(wire.TLS, "", "TLS 1.3, TLS_AES_128_GCM_SHA256, certificate of mail.example, verified for mail.example", false)
	c("AUTH", "AUTH LOGIN")
	s("AUTH", "334 VXNlcm5hbWU6")
	c("AUTH", "***")
	s("AUTH", "235 2.7.0 welcome")
	c("MAIL", "MAIL FROM:<> SIZE=314 BODY=8BITMIME SMTPUTF8")
	c("RCPT", "RCPT TO:<a@x>")
	c("RCPT", "RCPT TO:<b@x>")
	c("RCPT", "RCPT TO:<c@x>")
	c("DATA", "DATA")
	s("MAIL", "250 ok")
	s("RCPT", "250 ok", "550-5.1.1 no such", "550 5.1.1 user", "452 4.2.2 full")
	s("DATA", "354 go")
	write++
	add(wire.Event{From: wire.Client, Kind: wire.Data, Verb: "DATA", Text: "(314 bytes of message)", Took: time.Millisecond, Write: write})
	c(".", ".")
	s(".", "250 2.0.0 Ok: queued as 7Xk_"+strings.Repeat("0123456789", 12))
	c("RSET", "RSET")
	s("RSET", "250 ok")
	c("QUIT", "QUIT")
	s("QUIT", "221 bye")
	net(wire.Closed, "", "connection closed", false)
	t.Total = at
	return t
}

func TestWriteTraceGolden(t *testing.T) {
	for name, width := range map[string]int{"trace-120": 0, "trace-80": 1} {
		var out strings.Builder
		if err := mailclient.WriteTrace(&out, sample(), mailclient.TraceOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), out.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		limit := 120
		if width == 1 {
			limit = 80
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if len([]rune(line)) > limit || line != wire.Printable(line) {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

// TestMeanings: each event has words of its own, and none quotes the server
// unescaped.
func TestMeanings(t *testing.T) {
	tr := sample()
	for i, m := range tr.Meanings() {
		if m == "" || m != wire.Printable(m) {
			t.Errorf("%q means %q", tr.Events[i].Text, m)
		}
	}
	one := func(verb, text string) string {
		return mailclient.Trace{Events: []wire.Event{{From: wire.Remote, Kind: wire.Answer, Verb: verb, Text: text}}}.Meanings()[0]
	}
	for in, want := range map[[2]string]string{
		{"", "554 no"}:              "not taken; for good: trying again changes nothing",
		{"", "x"}:                   "not a reply",
		{"", "abc"}:                 "not a reply",
		{"EHLO", "500 what"}:        "the command is not known: perhaps HELO is understood",
		{"RCPT", "450 4.2.1 shut"}:  "the mailbox is shut; for now only: the same may be tried again later",
		{"RCPT", "599 x"}:           "refused; for good: trying again changes nothing",
		{"RCPT", "251 x"}:           "not here, but I pass it on",
		{".", "250 ok"}:             "accepted: the server answers for this mail from now on",
		{"MAIL", "250"}:             "sender taken",
		{"STARTTLS", "454 4.7.0 x"}: "not allowed; for now only: the same may be tried again later",
	} {
		if got := one(in[0], in[1]); got != want {
			t.Errorf("%q means %q, want %q", in, got, want)
		}
	}
}

func TestSum(t *testing.T) {
	s := sample().Sum()
	// Greeting, EHLO, STARTTLS, two of AUTH, the group, the dot, RSET, QUIT.
	if s.Waits != 9 || s.Sent == 0 || s.Received == 0 {
		t.Errorf("%+v", s)
	}
}
