package mailclient_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"postern.example/mailclient"
	"postern.example/mailclient/wire"
	"postern.example/mailclient/wire/wiretest"
)

func boxes(t testing.TB, list ...string) (out []mailclient.Mailbox) {
	t.Helper()
	for _, s := range list {
		out = append(out, box(t, s))
	}
	return out
}

// TestSendToGoSMTP: a server that is not ours takes what we send, byte for byte.
func TestSendToGoSMTP(t *testing.T) {
	cert := wiretest.NewCertificate(t)
	for name, c := range map[string]struct {
		set  func(*smtp.Server)
		opts mailclient.Options
	}{
		"clear": {nil, mailclient.Options{}},
		"auth":  {nil, mailclient.Options{User: "ada", Password: "secret"}},
		"tls":   {withTLS(cert.TLS), mailclient.Options{TLS: wire.TLSRequire, Roots: cert.Pool, User: "ada", Password: "secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, c.set)
			raw := "Subject: x\r\n\r\n.\r\n..\r\nü\r\n\r\n"
			env := compose(t, mailclient.Draft{To: boxes(t, "a@x", `"b c"@y`)}).Envelope
			m, err := mailclient.ReadMessage(strings.NewReader(raw), env, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			c.opts.Server = p.url
			res, err := mailclient.Send(t.Context(), c.opts, m)
			if err != nil || res.Outcome != mailclient.Accepted {
				t.Fatal(res, err)
			}
			got := p.all()
			if len(got) != 1 || got[0].body != raw || got[0].from != "ada@x" || got[0].opts.Size != int64(len(raw)) || got[0].opts.Body != smtp.Body8BitMIME {
				t.Errorf("%+v", got)
			}
			if res.Trace.Total <= 0 || len(res.Trace.Events) < 10 {
				t.Errorf("%+v", res.Trace)
			}
		})
	}
}

func TestSendUTF8(t *testing.T) {
	p := newPeer(t, nil)
	m := compose(t, mailclient.Draft{From: box(t, "åda@exämple.org"), To: boxes(t, "用户@例子.广告"), Subject: "x", Text: "y"})
	res, err := mailclient.Send(t.Context(), mailclient.Options{Server: p.url}, m)
	if err != nil {
		t.Fatal(err)
	}
	got := p.all()
	if len(got) != 1 || !got[0].opts.UTF8 || got[0].to[0] != "用户@例子.广告" || !strings.Contains(got[0].body, "\r\nTo: 用户@例子.广告\r\n") {
		t.Errorf("%+v, %+v", got, res)
	}
	// A server without SMTPUTF8 is not tried on.
	p = newPeer(t, func(s *smtp.Server) { s.EnableSMTPUTF8 = false })
	res, err = mailclient.Send(t.Context(), mailclient.Options{Server: p.url}, m)
	if err == nil || res.Outcome != mailclient.MessageRefused || res.Recipients[0].Retry || len(p.all()) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestSendLMTP(t *testing.T) {
	p := newPeer(t, func(s *smtp.Server) { s.LMTP = true })
	m := compose(t, mailclient.Draft{To: boxes(t, "a@x", "full@x", "nobody@x", "b@x"), Text: "x"})
	res, err := mailclient.Send(t.Context(), mailclient.Options{Server: p.url}, m)
	if err == nil || res.Outcome != mailclient.Partial {
		t.Fatal(err)
	}
	var codes []int
	for _, r := range res.Recipients {
		codes = append(codes, r.Code)
	}
	if diff := cmp.Diff([]int{250, 552, 550, 250}, codes); diff != "" {
		t.Error(diff)
	}
}

const greet = "S: 220 x\nC: EHLO*\nS: 250 x\n"
const twoTo = greet + "C: MAIL*\nS: 250 x\nC: RCPT TO:<a@x>\n"

func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   mailclient.Outcome
		retry  string // of the two recipients
	}{
		"both":                       {twoTo + "S: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 250 x\nC: QUIT\nS: 221 x", mailclient.Accepted, "--"},
		"both, QUIT unanswered":      {twoTo + "S: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 250 x", mailclient.Accepted, "--"},
		"one":                        {twoTo + "S: 550 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 250 x\nC: QUIT\nS: 221 x", mailclient.Partial, "n-"},
		"one for now":                {twoTo + "S: 450 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 250 x\nC: QUIT\nS: 221 x", mailclient.Partial, "y-"},
		"neither":                    {twoTo + "S: 550 x\nC: RCPT*\nS: 553 x\nC: QUIT\nS: 221 x", mailclient.RecipientsRefused, "nn"},
		"neither, one later":         {twoTo + "S: 550 x\nC: RCPT*\nS: 450 x\nC: QUIT\nS: 221 x", mailclient.TryAgain, "ny"},
		"one no, message later":      {twoTo + "S: 550 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 451 x\nC: QUIT\nS: 221 x", mailclient.TryAgain, "ny"},
		"one later, message no":      {twoTo + "S: 450 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 554 x\nC: QUIT\nS: 221 x", mailclient.TryAgain, "yn"},
		"one no, message no":         {twoTo + "S: 550 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 554 x\nC: QUIT\nS: 221 x", mailclient.MessageRefused, "nn"},
		"sender refused":             {greet + "C: MAIL*\nS: 553 x\nC: QUIT\nS: 221 x", mailclient.MessageRefused, "nn"},
		"sender later":               {greet + "C: MAIL*\nS: 451 x\nC: QUIT\nS: 221 x", mailclient.TryAgain, "yy"},
		"who are you":                {greet + "C: MAIL*\nS: 530 5.7.0 x\nC: QUIT\nS: 221 x", mailclient.Denied, "nn"},
		"unwilling":                  {"S: 554 x", mailclient.HostGone, "nn"},
		"unwilling at EHLO":          {"S: 220 x\nC: EHLO*\nS: 550 x", mailclient.HostGone, "nn"},
		"busy":                       {"S: 421 x", mailclient.TryAgain, "yy"},
		"lost":                       {twoTo, mailclient.HostGone, "yy"},
		"lost after one later":       {twoTo + "S: 450 x\nC: RCPT*", mailclient.TryAgain, "yy"},
		"lost after one no":          {twoTo + "S: 550 x\nC: RCPT*", mailclient.HostGone, "ny"},
		"broken":                     {twoTo + "S: what", mailclient.ProtocolBroken, "yy"},
		"broken greeting":            {"S: HTTP/1.1 400 Bad Request", mailclient.ProtocolBroken, "yy"},
		"silent":                     {greet + "C: MAIL*\nWAIT", mailclient.TryAgain, "yy"},
		"lost after the message":     {twoTo + "S: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY", mailclient.HostGone, "yy"},
		"silent after one taken, no": {twoTo + "S: 550 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nWAIT", mailclient.TryAgain, "ny"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wiretest.Serve(t, c.script)
			o := mailclient.Options{Server: "smtp://" + s.Addr, Timeout: 20 * time.Second}
			if strings.Contains(c.script, "WAIT") {
				o.Timeout = 500 * time.Millisecond
			}
			m := compose(t, mailclient.Draft{To: boxes(t, "a@x", "b@y"), Text: "x"})
			res, err := mailclient.Send(t.Context(), o, m)
			if res.Outcome != c.want || (err == nil) != (c.want == mailclient.Accepted) {
				t.Errorf("%s, %v; want %s", res.Outcome, err, c.want)
			}
			f := (*mailclient.Failure)(nil)
			if err != nil && (!errors.As(err, &f) || f.Outcome != c.want) {
				t.Errorf("%T %v", err, err)
			}
			retry := ""
			for _, r := range res.Recipients {
				switch {
				case r.Accepted:
					retry += "-"
				case r.Retry:
					retry += "y"
				default:
					retry += "n"
				}
			}
			if retry != c.retry {
				t.Errorf("retry %q, want %q", retry, c.retry)
			}
			var out strings.Builder
			if err := mailclient.WriteTrace(&out, res.Trace, mailclient.TraceOptions{}); err != nil || !strings.Contains(out.String(), "total") {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

// TestDenied: what was refused for want of TLS or of a proof is not to be tried
// again as it is, whichever side refused.
func TestDenied(t *testing.T) {
	cert := wiretest.NewCertificate(t)
	m := compose(t, mailclient.Draft{To: boxes(t, "a@x"), Text: "x"})
	for name, c := range map[string]struct {
		script string
		o      mailclient.Options
	}{
		"no TLS":      {"S: 220 x\nWAIT", mailclient.Options{Server: "smtps://"}},
		"not trusted": {"TLS", mailclient.Options{Server: "smtps://", TLS: wire.TLSRequire}},
		"no STARTTLS": {greet + "WAIT", mailclient.Options{Server: "smtp://", TLS: wire.TLSRequire}},
		"no AUTH":     {greet + "WAIT", mailclient.Options{Server: "smtp://", User: "ada", Password: "x"}},
		"at RCPT":     {greet + "C: MAIL*\nS: 250 x\nC: RCPT*\nS: 530 x\nC: QUIT\nS: 221 x", mailclient.Options{Server: "smtp://"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Server += wiretest.ServeTLS(t, cert, c.script).Addr
			c.o.Timeout = 20 * time.Second
			res, err := mailclient.Send(t.Context(), c.o, m)
			if err == nil || res.Outcome != mailclient.Denied || res.Recipients[0].Retry || res.Recipients[0].Asked() != (name == "at RCPT") {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

func TestSendMisused(t *testing.T) {
	m := compose(t, mailclient.Draft{Text: "x"})
	for _, o := range []mailclient.Options{{Server: "http://x"}, {Server: "smtp://127.0.0.1:1", Hello: "a b"}} {
		res, err := mailclient.Send(t.Context(), o, m)
		if err == nil || res.Outcome != mailclient.Misused || len(res.Recipients) != 1 || res.Recipients[0].Accepted {
			t.Errorf("%+v, %v", res, err)
		}
		if res.Recipients[0].Asked() {
			t.Errorf("asked: %+v", res)
		}
	}
}

func TestResultJSON(t *testing.T) {
	p := newPeer(t, nil)
	m := compose(t, mailclient.Draft{To: boxes(t, "a@x", "later@x"), Text: "x"})
	res, _ := mailclient.Send(t.Context(), mailclient.Options{Server: p.url}, m)
	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"server": p.url, "outcome": "partial", "size": float64(m.Size()),
		"recipients": []any{
			map[string]any{"address": "a@x", "accepted": true, "stage": "body", "code": 250.0, "enhanced": "2.0.0", "text": "OK: queued", "retry": false},
			map[string]any{"address": "later@x", "accepted": false, "stage": "rcpt", "code": 450.0, "enhanced": "4.2.1", "text": "later", "retry": true},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	b, err = json.Marshal(res.Trace)
	if err != nil || !strings.Contains(string(b), `"meaning":"recipient taken"`) || !strings.Contains(string(b), `"waits":`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestSendTwice: one Message serves any number of conversations.
func TestSendTwice(t *testing.T) {
	p := newPeer(t, nil)
	m := compose(t, mailclient.Draft{Text: "x"})
	for range 2 {
		if _, err := mailclient.Send(t.Context(), mailclient.Options{Server: p.url}, m); err != nil {
			t.Fatal(err)
		}
	}
	got := p.all()
	if len(got) != 2 || got[0].body != got[1].body {
		t.Errorf("%+v", got)
	}
	if _, err := io.Copy(io.Discard, m.Open()); err != nil {
		t.Error(err)
	}
}
