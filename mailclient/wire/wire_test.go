package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/mailclient/address"
	"postern.example/mailclient/wire"
	"postern.example/mailclient/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brief is long enough for any answer over loopback on a busy machine.
const brief = 10 * time.Second

func addr(t testing.TB, s string) address.Address {
	t.Helper()
	a, _, err := address.ParsePath("<" + s + ">")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mail(t testing.TB, body string, to ...string) wire.Mail {
	t.Helper()
	m := wire.Mail{From: addr(t, "ada@x"), Body: strings.NewReader(body)}
	for _, s := range to {
		m.To = append(m.To, addr(t, s))
	}
	return m
}

func target(t testing.TB, s *wiretest.Server) wire.Server {
	t.Helper()
	srv, err := wire.ParseServer("smtp://" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

// carry dials, sends and quits, and gives the verdicts as short strings, or the
// error of the dial.
func carry(t testing.TB, srv wire.Server, cfg wire.Config, mails ...wire.Mail) ([][]string, error) {
	t.Helper()
	if cfg.Timeouts == (wire.Timeouts{}) {
		cfg.Timeouts = wire.Within(brief)
	}
	c, err := wire.Dial(t.Context(), srv, cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var all [][]string
	for _, m := range mails {
		st, err := c.Send(t.Context(), m)
		if len(st) != len(m.To) {
			t.Errorf("%d statuses for %d recipients", len(st), len(m.To))
		}
		var got []string
		for i, s := range st {
			if s.To != m.To[i] {
				t.Errorf("status %d is of %q", i, s.To)
			}
			got = append(got, short(s))
		}
		if all = append(all, got); err != nil {
			return all, err
		}
	}
	return all, c.Quit(t.Context())
}

func short(s wire.Status) string {
	if s.Err == nil {
		return fmt.Sprintf("%s ok %d", s.Stage, s.Reply.Code)
	}
	out := fmt.Sprintf("%s %s %d", s.Err.Stage, s.Err.Kind, s.Err.Reply.Code)
	if s.Err.Permanent {
		out += " permanent"
	}
	if s.Err.Uncertain {
		out += " uncertain"
	}
	return out
}

const hello = `
	S: 220 mail.example ESMTP
	C: EHLO localhost
	S: 250 mail.example
`
const helloPipelining = `
	S: 220 mail.example ESMTP
	C: EHLO localhost
	S: 250-mail.example
	S: 250-pipelining
	S: 250-Size 1000
	S: 250 EnhancedStatusCodes
`
const bye = `
	C: QUIT
	S: 221 bye
`

// TestSend is the conversation itself, line by line.
func TestSend(t *testing.T) {
	tests := []struct {
		name   string
		script string
		mails  []wire.Mail
		want   [][]string
		bodies []string
	}{
		{
			name: "lockstep",
			script: hello + `
				C: MAIL FROM:<ada@x>
				S: 250 ok
				C: RCPT TO:<b@y>
				S: 251 ok
				C: DATA
				S: 354 go
				BODY
				S: 250 2.0.0 done` + bye,
			mails:  []wire.Mail{mail(t, "a\r\n.\r\n..b\r\nc", "b@y")},
			want:   [][]string{{"body ok 250"}},
			bodies: []string{"a\r\n..\r\n...b\r\nc\r\n"},
		},
		{
			name: "empty message, null sender, postmaster",
			script: hello + `
				C: MAIL FROM:<>
				S: 250 ok
				C: RCPT TO:<postmaster>
				S: 250 ok
				C: RCPT TO:<"a b"@y>
				S: 250 ok
				C: DATA
				S: 354 go
				BODY
				S: 250 done` + bye,
			mails: []wire.Mail{{To: []address.Address{addr(t, "Postmaster"), addr(t, `"a b"@y`)}, Body: strings.NewReader("")}},
			want:  [][]string{{"body ok 250", "body ok 250"}}, bodies: []string{""},
		},
		{
			name: "HELO",
			script: `
				S: 220-mail.example
				S: 220 ready
				C: EHLO localhost
				S: 502 what?
				C: HELO localhost
				S: 250
				C: MAIL FROM:<ada@x>
				S: 250
				C: RCPT TO:<b@y>
				S: 250
				C: DATA
				S: 354
				BODY
				S: 250` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y")}, want: [][]string{{"body ok 250"}}, bodies: []string{"x\r\n"},
		},
		{
			name: "lockstep, sender refused, then another mail",
			script: hello + `
				C: MAIL FROM:<ada@x>
				S: 550 5.7.1 not you
				C: RSET
				S: 250 ok
				C: MAIL FROM:<ada@x>
				S: 250 ok
				C: RCPT TO:<c@y>
				S: 250 ok
				C: DATA
				S: 354 go
				BODY
				S: 250 ok` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y", "c@y"), mail(t, "y\r\n", "c@y")},
			want:  [][]string{{"mail refused 550 permanent", "mail refused 550 permanent"}, {"body ok 250"}}, bodies: []string{"y\r\n"},
		},
		{
			name: "lockstep, all recipients refused: no DATA",
			script: hello + `
				C: MAIL FROM:<ada@x>
				S: 250 ok
				C: RCPT TO:<b@y>
				S: 550 5.1.1 who?
				C: RCPT TO:<c@y>
				S: 450 4.2.1 later` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y", "c@y")},
			want:  [][]string{{"rcpt refused 550 permanent", "rcpt refused 450"}},
		},
		{
			name: "pipelined, some refused",
			script: helloPipelining + `
				C: MAIL FROM:<ada@x>
				C: RCPT TO:<b@y>
				C: RCPT TO:<c@y>
				C: RCPT TO:<d@y>
				C: DATA
				S: 250 ok
				S: 550-5.1.1 who
				S: 550 5.1.1 is that?
				S: 250 ok
				S: 451 later
				S: 354 go
				BODY
				S: 250 ok` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y", "c@y", "d@y")},
			want:  [][]string{{"rcpt refused 550 permanent", "body ok 250", "rcpt refused 451"}}, bodies: []string{"x\r\n"},
		},
		{
			name: "pipelined, sender refused",
			script: helloPipelining + `
				C: MAIL FROM:<ada@x>
				C: RCPT TO:<b@y>
				C: DATA
				S: 450 not now
				S: 503 no mail
				S: 503 no mail` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y")}, want: [][]string{{"mail refused 450"}},
		},
		{
			name: "pipelined, all refused and DATA taken: a dot alone, then another mail",
			script: helloPipelining + `
				C: MAIL FROM:<ada@x>
				C: RCPT TO:<b@y>
				C: DATA
				S: 250 ok
				S: 550 who?
				S: 354 go
				C: .
				S: 554 nobody
				C: RSET
				S: 250 ok
				C: MAIL FROM:<ada@x>
				C: RCPT TO:<c@y>
				C: DATA
				S: 250 ok
				S: 250 ok
				S: 354 go
				BODY
				S: 250 ok` + bye,
			mails: []wire.Mail{mail(t, "secret\r\n", "b@y"), mail(t, "y\r\n", "c@y")},
			want:  [][]string{{"rcpt refused 550 permanent"}, {"body ok 250"}}, bodies: []string{"y\r\n"},
		},
		{
			name: "DATA refused",
			script: hello + `
				C: MAIL FROM:<ada@x>
				S: 250 ok
				C: RCPT TO:<b@y>
				S: 550 who?
				C: RCPT TO:<c@y>
				S: 250 ok
				C: DATA
				S: 452 4.3.1 full` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y", "c@y")}, want: [][]string{{"rcpt refused 550 permanent", "data refused 452"}},
		},
		{
			name: "message refused, connection lives",
			script: hello + `
				C: MAIL FROM:<ada@x>
				S: 250 ok
				C: RCPT TO:<b@y>
				S: 250 ok
				C: DATA
				S: 354 go
				BODY
				S: 552 5.3.4 too large
				C: MAIL FROM:<ada@x>
				S: 250 ok
				C: RCPT TO:<b@y>
				S: 250 ok
				C: DATA
				S: 354 go
				BODY
				S: 250 ok` + bye,
			mails: []wire.Mail{mail(t, "x\r\n", "b@y"), mail(t, "y\r\n", "b@y")},
			want:  [][]string{{"body refused 552 permanent"}, {"body ok 250"}}, bodies: []string{"x\r\n", "y\r\n"},
		},
		{
			name: "parameters",
			script: `
				S: 220 x
				C: EHLO localhost
				S: 250-x
				S: 250-SIZE
				S: 250-8bitmime
				S: 250 smtputf8
				C: MAIL FROM:<ada@x> SIZE=4 BODY=8BITMIME SMTPUTF8
				S: 250 ok
				C: RCPT TO:<ü@y>
				S: 250 ok
				C: DATA
				S: 354 go
				BODY
				S: 250 ok` + bye,
			mails: []wire.Mail{{From: addr(t, "ada@x"), To: []address.Address{addr(t, "ü@y")}, Body: strings.NewReader("ü\r\n"), Size: 4, EightBit: true}},
			want:  [][]string{{"body ok 250"}}, bodies: []string{"ü\r\n"},
		},
		{
			name:   "what the server lacks is not sent",
			script: helloPipelining + bye,
			mails: []wire.Mail{
				{From: addr(t, "ü@x"), To: []address.Address{addr(t, "b@y")}},
				{From: addr(t, "a@x"), To: []address.Address{addr(t, "b@y")}, UTF8: true},
				{From: addr(t, "a@x"), To: []address.Address{addr(t, "b@y")}, EightBit: true},
				{From: addr(t, "a@x"), To: []address.Address{addr(t, "b@y")}, Size: 1001},
				{From: addr(t, "a@x"), To: []address.Address{{}}},
				{From: addr(t, "postmaster"), To: []address.Address{addr(t, "b@y")}},
			},
			want: [][]string{
				{"mail unsupported 0 permanent"}, {"mail unsupported 0 permanent"}, {"mail unsupported 0 permanent"},
				{"mail unsupported 0 permanent"}, {"rcpt input 0 permanent"}, {"mail input 0 permanent"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := wiretest.Serve(t, tt.script)
			got, err := carry(t, target(t, s), wire.Config{}, tt.mails...)
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.bodies, s.Wait()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestManyRecipientsTravelInGroups(t *testing.T) {
	var script strings.Builder
	script.WriteString(helloPipelining)
	m := mail(t, "x\r\n")
	var to []string
	for i := range 120 {
		to = append(to, fmt.Sprintf("r%d@y", i))
		m.To = append(m.To, addr(t, to[i]))
	}
	lines := append([]string{"MAIL FROM:<ada@x>"}, to...)
	for i, l := range lines {
		if i > 0 {
			l = "RCPT TO:<" + l + ">"
		}
		fmt.Fprintf(&script, "C: %s\n", l)
		if i%50 == 49 { // the group ends: nothing more may come before the answers
			script.WriteString(strings.Repeat("S: 250 ok\n", 50))
		}
	}
	script.WriteString("C: DATA\n" + strings.Repeat("S: 250 ok\n", len(lines)%50) + "S: 354 go\nBODY\nS: 250 ok" + bye)
	s := wiretest.Serve(t, script.String())
	got, err := carry(t, target(t, s), wire.Config{}, m)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	for i, v := range got[0] {
		if v != "body ok 250" {
			t.Errorf("%s: %s", to[i], v)
		}
	}
}

func TestLMTP(t *testing.T) {
	s := wiretest.ServeUnix(t, `
		S: 220 x LMTP
		C: LHLO localhost
		S: 250-x
		S: 250 PIPELINING
		C: MAIL FROM:<ada@x>
		C: RCPT TO:<a@y>
		C: RCPT TO:<b@y>
		C: RCPT TO:<c@y>
		C: DATA
		S: 250 ok
		S: 250 ok
		S: 550 5.1.1 who?
		S: 250 ok
		S: 354 go
		BODY
		S: 250 2.0.0 kept
		S: 452 4.2.2 full`+bye)
	srv, err := wire.ParseServer("lmtp+unix://" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	got, err := carry(t, srv, wire.Config{}, mail(t, "x\r\n", "a@y", "b@y", "c@y"))
	if diff := cmp.Diff([][]string{{"body ok 250", "rcpt refused 550 permanent", "body refused 452"}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestResolve(t *testing.T) {
	s := wiretest.Serve(t, hello+bye)
	srv := target(t, s)
	srv.Host = "two.example"
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	var seen []string
	cfg := wire.Config{
		Network: "tcp4",
		Lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
			if network != "ip4" || host != "two.example" {
				return nil, errors.New("unexpected")
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "127.0.0.9:") {
				addr = closed.Addr().String() // nobody listens there, wherever this runs
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
		Trace: func(e wire.Event) {
			if e.From == wire.Network {
				seen = append(seen, fmt.Sprint(e.Kind, " ", e.Failed))
			}
		},
	}
	if _, err := carry(t, srv, cfg); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"resolve false", "connect true", "connect false", "close false"}, seen); diff != "" {
		t.Error(diff)
	}

	cfg.Lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "two.example", IsNotFound: true}
	}
	_, err = wire.Dial(t.Context(), srv, cfg)
	if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Kind != wire.Gone || e.Error() != "resolve two.example: no such host" {
		t.Error(err)
	}
	srv.Host, cfg.Network = "127.0.0.1", "tcp6"
	_, err = wire.Dial(t.Context(), srv, cfg)
	if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Kind != wire.BadInput {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	srv := wire.Server{Scheme: wire.SMTP, Host: "127.0.0.1", Port: 1}
	bad := []wire.Config{
		{Hello: "a b"}, {Hello: "a\r\nMAIL FROM:<x@y>"}, {Hello: "ü"}, {Hello: "-a"},
		{TLS: "maybe"}, {Network: "udp"}, {User: "a\x00b"}, {User: "a", Password: strings.Repeat("x", 5000)},
	}
	for _, cfg := range bad {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			t.Error("dialled")
			return nil, errors.New("no")
		}
		_, err := wire.Dial(t.Context(), srv, cfg)
		if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Kind != wire.BadInput {
			t.Errorf("%+v: %v", cfg.Hello, err)
		}
	}
	for _, name := range []string{"mail.example", "my_host", "[127.0.0.1]", "[IPv6:::1]"} {
		s := wiretest.Serve(t, "S: 220 x\nC: EHLO "+name+"\nS: 250 x"+bye)
		if _, err := carry(t, target(t, s), wire.Config{Hello: name}); err != nil {
			t.Error(err)
		}
	}
}

func TestTrace(t *testing.T) {
	s := wiretest.Serve(t, helloPipelining+`
		C: MAIL*
		C: RCPT*
		C: DATA
		S: 250 ok
		S: 250 \x1b[2J
		S: 354 go
		BODY
		S: 250 done`+bye)
	var events []wire.Event
	m := mail(t, "a\r\n.b\r\n", "b@y")
	if _, err := carry(t, target(t, s), wire.Config{Trace: func(e wire.Event) { events = append(events, e) }}, m); err != nil {
		t.Fatal(err)
	}
	var got []string
	at := time.Duration(0)
	for _, e := range events {
		if e.At < at && e.From != wire.Client { // a write is told once it is done
			t.Errorf("%q at %v, after %v", e.Text, e.At, at)
		}
		if at = e.At; e.From == wire.Remote && !strings.HasPrefix(e.Text[3:], "-") && e.Took <= 0 {
			t.Errorf("%q took %v", e.Text, e.Took)
		}
		text := e.Text
		if e.Kind == wire.Connect {
			text = "*"
		}
		got = append(got, fmt.Sprintf("%s %s %s %d %d %s", e.From, e.Kind, e.Verb, e.Bytes, e.Write, text))
	}
	want := []string{
		"network connect tcp 0 0 *",
		"server reply  24 0 220 mail.example ESMTP",
		"client command EHLO 16 1 EHLO localhost",
		"server reply EHLO 18 0 250-mail.example",
		"server reply EHLO 16 0 250-pipelining",
		"server reply EHLO 15 0 250-Size 1000",
		"server reply EHLO 25 0 250 EnhancedStatusCodes",
		"client command MAIL 19 2 MAIL FROM:<ada@x>",
		"client command RCPT 15 2 RCPT TO:<b@y>",
		"client command DATA 6 2 DATA",
		"server reply MAIL 8 0 250 ok",
		"server reply RCPT 10 0 250 \x1b[2J",
		"server reply DATA 8 0 354 go",
		"client data DATA 8 3 (7 bytes of message)",
		"client command . 3 3 .",
		"server reply . 10 0 250 done",
		"client command QUIT 6 4 QUIT",
		"server reply QUIT 9 0 221 bye",
		"network close  0 0 connection closed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnhanced(t *testing.T) {
	for reply, want := range map[string]string{
		"550 5.1.1 who?":    "5.1.1 who?",
		"550 5.1.1":         "5.1.1 ",
		"550 4.1.1 who?":    " 4.1.1 who?", // contradicts the code
		"550 5.1 who?":      " 5.1 who?",
		"550 5.01.1 who?":   " 5.01.1 who?",
		"550 5.1.1000 who?": " 5.1.1000 who?",
		"550 5..1 who?":     " 5..1 who?",
		"550 who?":          " who?",
		"550":               " ",
	} {
		s := wiretest.Serve(t, "S: "+reply)
		_, err := wire.Dial(t.Context(), target(t, s), wire.Config{Timeouts: wire.Within(brief)})
		e := (*wire.Error)(nil)
		if !errors.As(err, &e) || e.Reply.Enhanced+" "+e.Reply.Text() != want {
			t.Errorf("%q: %+v", reply, e)
		}
	}
}
