package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postern.example/mailclient/wire"
	"postern.example/mailclient/wire/wiretest"
)

// TestHostile holds every kind of broken or unwilling server: what comes out is
// an error with its kind, in time, and nothing accepted that was not.
func TestHostile(t *testing.T) {
	mailAnd := hello + `
		C: MAIL FROM:<ada@x>
	`
	data := mailAnd + `
		S: 250 ok
		C: RCPT TO:<b@y>
		S: 250 ok
		C: DATA
	`
	tests := []struct {
		name, script string
		want         string // of the one recipient, or "" where Dial fails
		err          string // start of the error of Dial or Send
	}{
		{"greets with 554", "S: 554 no service", "", "greeting refused 554 permanent"},
		{"greets with 421", "S: 421 busy", "", "greeting refused 421"},
		{"greets with 250", "S: 250 hello\nWAIT", "", "greeting protocol 0"},
		{"is no mail server", "S: SSH-2.0-x\nWAIT", "", "greeting protocol 0"},
		{"says nothing and closes", "", "", "greeting gone 0"},
		{"closes in the greeting", "S| 220 he", "", "greeting gone 0"},
		{"closes in its second digit", "S| 22", "", "greeting gone 0"},
		{"closes in what is no greeting", "S| HTTP/1.1 4", "", "greeting protocol 0"},
		{"closes in an alert of TLS", `S| \x15\x03\x01\x00\x02\x02\x46`, "", "greeting protocol 0"},
		{"code only of digits", "S: 2O0 x\nWAIT", "", "greeting protocol 0"},
		{"code out of range", "S: 620 x\nWAIT", "", "greeting protocol 0"},
		{"intermediate code", "S: 120 x\nWAIT", "", "greeting protocol 0"},
		{"no blank after the code", "S: 220x\nWAIT", "", "greeting protocol 0"},
		{"an empty line", "S:\nWAIT", "", "greeting protocol 0"},
		{"NUL", `S: 220 a\x00b` + "\nWAIT", "", "greeting protocol 0"},
		{"lines disagree", "S: 220-a\nS: 250 b\nWAIT", "", "greeting protocol 0"},
		{"endless line", "S| 220 " + strings.Repeat("a", 5000) + "\nWAIT", "", "greeting protocol 0"},
		{"endless reply", strings.Repeat("S: 220-a\n", 201) + "WAIT", "", "greeting protocol 0"},
		{"endless bytes", strings.Repeat("S: 220-"+strings.Repeat("a", 4000)+"\n", 17) + "WAIT", "", "greeting protocol 0"},
		{"refuses EHLO", "S: 220 x\nC: EHLO*\nS: 550 not you", "", "ehlo refused 550 permanent"},
		{"refuses EHLO and HELO", "S: 220 x\nC: EHLO*\nS: 500 what\nC: HELO*\nS: 501 what", "", "ehlo refused 501 permanent"},
		{"EHLO answered with 354", "S: 220 x\nC: EHLO*\nS: 354 x\nWAIT", "", "ehlo protocol 0"},
		{"closes at EHLO", "S: 220 x\nC: EHLO*", "", "ehlo gone 0"},
		{"talks unasked", "S: 220 x\nC: EHLO*\nS| 250 x\\r\\n250 y\\r\\n\nWAIT", "mail protocol 0", "mail protocol 0"},
		{"says 421 unasked", "S: 220 x\nC: EHLO*\nS| 250 x\\r\\n421 going\\r\\n\nWAIT", "mail refused 421", "mail refused 421"},
		{"421 at MAIL", mailAnd + "S: 421 busy", "mail refused 421", "mail refused 421"},
		{"354 at MAIL", mailAnd + "S: 354 go\nWAIT", "mail protocol 0", "mail protocol 0"},
		{"closes at MAIL", mailAnd, "mail gone 0", "mail gone 0"},
		{"closes at RCPT", mailAnd + "S: 250 ok\nC: RCPT*", "rcpt gone 0", "rcpt gone 0"},
		{"421 at RCPT", mailAnd + "S: 250 ok\nC: RCPT*\nS: 421 busy", "rcpt refused 421", "rcpt refused 421"},
		{"closes at DATA", data, "data gone 0", "data gone 0"},
		{"250 at DATA", data + "S: 250 ok\nWAIT", "data protocol 0", "data protocol 0"},
		{"421 at DATA", data + "S: 421 4.3.2 going\nWAIT", "data refused 421", "data refused 421"},
		{"accepts before the message", data + "S| 354 go\\r\\n250 accepted\\r\\n\nWAIT", "body protocol 0", "body protocol 0"},
		{"closes after the dot", data + "S: 354 go\nBODY", "body gone 0 uncertain", "body gone 0 uncertain"},
		{"354 after the dot", data + "S: 354 go\nBODY\nS: 354 more\nWAIT", "body protocol 0", "body protocol 0"},
		{"421 after the dot", data + "S: 354 go\nBODY\nS: 421 sorry", "body refused 421", "body refused 421"},
		{"garbage after the dot", data + "S: 354 go\nBODY\nS: \\xff\\xff\nWAIT", "body protocol 0 uncertain", "body protocol 0 uncertain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := wiretest.Serve(t, tt.script)
			got, err := carry(t, target(t, s), wire.Config{}, mail(t, "x\r\n", "b@y"))
			e := (*wire.Error)(nil)
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Error() != wire.Printable(e.Error()) {
				t.Errorf("the error is not safe to show: %q", e.Error())
			}
			if g := short(wire.Status{Err: e}); g != tt.err {
				t.Errorf("error %q, want %q (%v)", g, tt.err, err)
			}
			switch {
			case tt.want == "" && got != nil:
				t.Errorf("Dial should have failed: %v", got)
			case tt.want != "" && (len(got) != 1 || got[0][0] != tt.want):
				t.Errorf("verdict %v, want %q", got, tt.want)
			}
		})
	}
}

// TestNoGreeting: what does not greet is perhaps no SMTP server at all, and the
// error says so; a server that began to is one.
func TestNoGreeting(t *testing.T) {
	for name, c := range map[string]struct {
		script, want string
		kind         wire.Kind
	}{
		"closes":      {"", "greeting: nothing greeted: the server closed the connection; perhaps this is no SMTP server, or one to speak to as smtps://", wire.Gone},
		"silent":      {"WAIT", "greeting: nothing greeted: no answer in time; perhaps this is no SMTP server, or one to speak to as smtps://", wire.TimedOut},
		"HTTP":        {"S: HTTP/1.1 400 Bad Request\nWAIT", `greeting: what came is no SMTP reply: "HTTP/1.1 400 Bad Request": no reply code`, wire.Protocol},
		"part":        {"S| HTTP/1.1 400\nWAIT", `greeting: what came is no SMTP reply: "HTTP/1.1 400": no reply code`, wire.Protocol},
		"in the text": {"S| 220 mail", "greeting: the server closed the connection", wire.Gone},
		"next line":   {"S: 220-mail\nS| 22", "greeting: the server closed the connection", wire.Gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wiretest.Serve(t, c.script)
			limits := wire.Within(brief)
			if strings.Contains(c.script, "WAIT") && name != "HTTP" {
				limits.Greeting = 300 * time.Millisecond
			}
			var told []string
			_, err := wire.Dial(t.Context(), target(t, s), wire.Config{Timeouts: limits, Trace: func(e wire.Event) {
				if e.From == wire.Remote {
					told = append(told, e.Text)
				}
			}})
			e := (*wire.Error)(nil)
			if !errors.As(err, &e) || e.Kind != c.kind || e.Error() != c.want {
				t.Errorf("error %v", err)
			}
			if c.kind == wire.Protocol && len(told) != 1 {
				t.Errorf("the trace shows %q", told)
			}
		})
	}
	// Behind TLS the advice would be wrong.
	cert := wiretest.NewCertificate(t)
	srv := target(t, wiretest.ServeTLS(t, cert, "TLS"))
	srv.Scheme = wire.SMTPS
	_, err := wire.Dial(t.Context(), srv, wire.Config{Timeouts: wire.Within(brief)})
	if err == nil || err.Error() != "greeting: nothing greeted: the server closed the connection; perhaps this is no SMTP server" {
		t.Errorf("error %v", err)
	}
}

// TestTimeout: a server that is silent, or too slow by one byte at a time,
// costs one deadline and no more.
func TestTimeout(t *testing.T) {
	steps := map[string]string{
		"greeting": "WAIT",
		"ehlo":     "S: 220 x\nC: EHLO*\nS| 250-\nWAIT",
		"mail":     hello + "C: MAIL*\nWAIT",
		"data":     hello + "C: MAIL*\nS: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nWAIT",
		"body":     hello + "C: MAIL*\nS: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nWAIT",
	}
	for stage, script := range steps {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			s := wiretest.Serve(t, script)
			// Only the step under test is short, so that a busy machine cannot
			// make another one fail.
			limits := wire.Within(brief)
			const short = 50 * time.Millisecond
			switch stage {
			case "greeting":
				limits.Greeting = short
			case "data":
				limits.Data = short
			case "body":
				limits.End = short
			}
			cfg := wire.Config{Timeouts: limits}
			if stage == "ehlo" || stage == "mail" {
				cfg.Timeouts.Command = 300 * time.Millisecond
			}
			_, err := carry(t, target(t, s), cfg, mail(t, "x\r\n", "b@y"))
			e := (*wire.Error)(nil)
			if !errors.As(err, &e) || e.Kind != wire.TimedOut || string(e.Stage) != stage || e.Permanent {
				t.Errorf("error %v", err)
			}
			if stage == "body" != (e != nil && e.Uncertain) {
				t.Errorf("uncertain: %v", e.Uncertain)
			}
		})
	}
}

// TestTrickle feeds a reply byte by byte for longer than the deadline of the
// reply, each byte well within it.
func TestTrickle(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for text := "220 "; ; text += "a" {
			<-tick.C
			if _, err := c.Write([]byte(text[:1])); err != nil {
				return // the client has given up
			}
			text = text[1:]
		}
	}()
	srv, _ := wire.ParseServer("smtp://" + l.Addr().String())
	limits := wire.Within(brief)
	limits.Greeting = 100 * time.Millisecond
	_, err = wire.Dial(t.Context(), srv, wire.Config{Timeouts: limits})
	l.Close()
	<-done
	e := (*wire.Error)(nil)
	if !errors.As(err, &e) || e.Kind != wire.TimedOut || e.Stage != wire.StageGreeting {
		t.Errorf("error %v", err)
	}
}

func TestCancel(t *testing.T) {
	s := wiretest.Serve(t, hello+"C: MAIL*\nWAIT")
	ctx, cancel := context.WithCancelCause(t.Context())
	c, err := wire.Dial(t.Context(), target(t, s), wire.Config{
		Timeouts: wire.Within(brief),
		Trace: func(e wire.Event) {
			if e.Verb == "MAIL" {
				cancel(errors.New("changed my mind"))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Send(ctx, mail(t, "x\r\n", "b@y"))
	e := (*wire.Error)(nil)
	if !errors.As(err, &e) || e.Kind != wire.Cancelled || st[0].Err != e || !strings.Contains(err.Error(), "changed my mind") {
		t.Errorf("%v, %v", st, err)
	}
	if _, err := c.Send(t.Context(), mail(t, "x\r\n", "b@y")); err == nil {
		t.Error("a broken connection is used again")
	}
}

// TestBody: a message that is wrong or cannot be read is broken off, and the
// server never sees an end of it.
func TestBody(t *testing.T) {
	script := hello + `
		C: MAIL*
		S: 250 ok
		C: RCPT*
		S: 250 ok
		C: DATA
		S: 354 go
		WAIT`
	bodies := map[string]io.Reader{
		"bare LF":         strings.NewReader("a\nb\r\n"),
		"bare CR":         strings.NewReader("a\rb\r\n"),
		"CR at the end":   strings.NewReader("a\r"),
		"split CR":        iotest.OneByteReader(strings.NewReader("a\r.\r\n")),
		"smuggled end":    strings.NewReader("a\r\n.\nMAIL FROM:<x@y>\r\n"),
		"cannot be read":  io.MultiReader(strings.NewReader("a\r\n"), iotest.ErrReader(errors.New("disk"))),
		"fails in time":   iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("a\r\nb\r\n"))),
		"LF after a stop": strings.NewReader(".\n"),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			s := wiretest.Serve(t, script)
			m := mail(t, "", "b@y")
			m.Body = body
			got, err := carry(t, target(t, s), wire.Config{}, m)
			if err == nil || len(got) != 1 || got[0][0] != "body input 0 permanent" {
				t.Errorf("%v, %v", got, err)
			}
			if b := s.Wait(); len(b) > 0 {
				t.Errorf("the server took %q", b)
			}
		})
	}
}

// TestBodyExact: what is proper arrives as it was, whatever the pieces it is
// read in.
func TestBodyExact(t *testing.T) {
	body := strings.Repeat(".dots\r\n..\r\n.\r\nline\r\n\r\n", 5000)
	s := wiretest.Serve(t, hello+"C: MAIL*\nS: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 250 x"+bye)
	m := mail(t, "", "b@y")
	m.Body = iotest.HalfReader(strings.NewReader(body))
	got, err := carry(t, target(t, s), wire.Config{}, m)
	if err != nil || got[0][0] != "body ok 250" {
		t.Fatal(got, err)
	}
	var back strings.Builder
	for l := range strings.Lines(s.Wait()[0]) {
		back.WriteString(strings.TrimPrefix(l, "."))
	}
	if back.String() != body {
		t.Error("the message changed on its way")
	}
}

// TestEarlyWord: a server that refuses in the middle of a large message and
// closes is heard.
func TestEarlyWord(t *testing.T) {
	s := wiretest.Serve(t, hello+"C: MAIL*\nS: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nREAD 1000\nS: 552 5.3.4 too large")
	m := mail(t, "", "b@y")
	m.Body = io.LimitReader(lines{}, 64<<20)
	got, err := carry(t, target(t, s), wire.Config{}, m)
	if err == nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	// A reset can overtake the reply: then the host is gone, never accepted.
	if v := got[0][0]; v != "body refused 552 permanent" && v != "body gone 0" && v != "body gone 0 uncertain" {
		t.Error(v)
	}
}

type lines struct{}

func (lines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "abcdef\r\n"[i%8]
	}
	return len(p) / 8 * 8, nil
}

// FuzzServer lets a server say anything at all: the conversation ends, without
// a panic, and nobody is accepted whom the server did not say 2xx to after 354.
func FuzzServer(f *testing.F) {
	f.Add([]byte("220 x\r\n250-x\r\n250-PIPELINING\r\n250 SIZE 9\r\n250 a\r\n250 b\r\n550 c\r\n354 d\r\n250 e\r\n221 f\r\n"))
	f.Add([]byte("220 x\n250 x\n250 a\n250 b\n250 c\n354 d\n250 e\n"))
	f.Add([]byte("220 x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n220 go\r\n421 x\r\n"))
	f.Add([]byte("220-a\r\n220"))
	srv := wire.Server{Scheme: wire.SMTP, Host: "127.0.0.1", Port: 25}
	f.Fuzz(func(t *testing.T, said []byte) {
		c, err := wire.Dial(t.Context(), srv, wire.Config{
			TLS: wire.TLSOff,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return &canned{Reader: strings.NewReader(string(said))}, nil
			},
			Trace: func(wire.Event) {},
		})
		if err != nil {
			if s := err.Error(); s != wire.Printable(s) {
				t.Errorf("%q is not safe to show", s)
			}
			return
		}
		defer c.Quit(t.Context())
		st, err := c.Send(t.Context(), mail(t, "x\r\n", "a@x", "b@y"))
		for _, s := range st {
			if s.Err == nil && (s.Reply.Code/100 != 2 || s.Stage != wire.StageBody || !strings.Contains(string(said), "354")) {
				t.Errorf("accepted: %+v", s)
			}
			if s.Stage == "" {
				t.Errorf("no verdict: %+v", s)
			}
		}
		if e := (*wire.Error)(nil); err != nil && !errors.As(err, &e) {
			t.Errorf("%T", err)
		}
	})
}

// canned is a connection whose other side has said all it will ever say, one
// byte at a time.
type canned struct {
	net.Conn
	io.Reader
}

func (c *canned) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), 1)]) }
func (*canned) Write(p []byte) (int, error)  { return len(p), nil }
func (*canned) Close() error                 { return nil }
func (*canned) SetDeadline(time.Time) error  { return nil }
