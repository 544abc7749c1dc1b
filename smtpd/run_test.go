package smtpd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern.example/smtpd"
)

// TestDrain ends the server while one client is idle, one is between MAIL and
// DATA and one is inside its body: the first gets 421, the others their 250, and
// nothing is accepted after.
func TestDrain(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data}.WithLimits(smtpd.Limits{Linger: 100 * time.Millisecond}))
	idle := s.hello()
	before := s.hello()
	before.send(transaction)
	before.expect("250")
	before.expect("250")
	inside := s.hello()
	inside.send(transaction + "DATA\r\n")
	inside.expect("250")
	inside.expect("250")
	inside.expect("354")
	inside.send("Subject: inside\r\n")

	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	idle.expect("421 4.3.2")
	idle.expectEOF()
	if status, text := s.do("GET", "/healthz", nil, nil); status != http.StatusServiceUnavailable {
		t.Errorf("healthz while draining: %d %s", status, text)
	}
	inside.send("\r\nbody\r\n.\r\n")
	inside.expect("250 2.0.0")
	inside.expect("421 4.3.2")
	inside.expectEOF()
	before.send("DATA\r\n")
	before.expect("354")
	before.send("Subject: before\r\n\r\n.\r\n")
	before.expect("250 2.0.0")
	before.expect("421 4.3.2")
	before.expectEOF()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", s.smtp); err == nil {
		c.Close()
		t.Error("the server still takes connections")
	}
	if n := len(start(t, smtpd.Config{Data: data}).list()); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

// TestDrainIsBounded ends the server while a client never ends its message.
func TestDrainIsBounded(t *testing.T) {
	s := start(t, smtpd.Config{}.WithLimits(smtpd.Limits{Drain: 50 * time.Millisecond, Linger: 50 * time.Millisecond}))
	c := s.hello()
	c.send(transaction + "DATA\r\n")
	c.expect("250")
	c.expect("250")
	c.expect("354")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	c.expect("421 4.3.2")
	c.expectEOF()
}

// TestDrainUnderLoad ends the server while clients send as fast as they can:
// every acknowledged message is there afterwards, and no more than were sent.
func TestDrainUnderLoad(t *testing.T) {
	data := t.TempDir()
	s := start(t, smtpd.Config{Data: data}.WithLimits(smtpd.Limits{Linger: 100 * time.Millisecond}))
	var mu sync.Mutex
	acknowledged := map[string]string{} // id to body
	sent := 0
	enough := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, err := net.Dial("tcp", s.smtp)
			if err != nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			cl := &client{t: t, Conn: c, r: newReader(c)}
			if _, err := cl.reply(); err != nil {
				return
			}
			for n := 0; ; n++ {
				body := fmt.Sprintf("Subject: %d-%d\r\n\r\n", i, n)
				mu.Lock()
				sent++
				if sent == 50 {
					close(enough)
				}
				mu.Unlock()
				io.WriteString(c, "EHLO c\r\n"+transaction+"DATA\r\n"+body+".\r\n")
				for {
					text, err := cl.reply()
					if err != nil || strings.HasPrefix(text, "421") {
						return
					}
					if id, ok := strings.CutPrefix(text, "250 2.0.0 Ok: queued as "); ok {
						mu.Lock()
						acknowledged[strings.TrimSpace(id)] = body
						mu.Unlock()
						break
					}
				}
			}
		})
	}
	<-enough
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	again := start(t, smtpd.Config{Data: data})
	for id, body := range acknowledged {
		if got := again.body(id); got != body {
			t.Errorf("%s: stored %q, want %q", id, got, body)
		}
	}
	if n := len(again.list()); n < len(acknowledged) || n > sent {
		t.Errorf("%d messages are stored; %d were acknowledged, %d sent", n, len(acknowledged), sent)
	}
}

func TestTooManyClients(t *testing.T) {
	s := start(t, smtpd.Config{}.WithLimits(smtpd.Limits{Clients: 1}))
	first := s.hello()
	second := s.dial()
	second.expect("421 4")
	second.expectEOF()
	first.script("C: NOOP\nS: 250")
}

func TestRunFailsWithTheEnvironment(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	start(t, smtpd.Config{Data: open})
	tests := map[string]struct {
		cfg  smtpd.Config
		want string
	}{
		"port in use":     {smtpd.Config{SMTP: []string{taken.Addr().String()}}, "listen for smtp on " + taken.Addr().String()},
		"http in use":     {smtpd.Config{HTTP: taken.Addr().String()}, "listen for http on"},
		"not a folder":    {smtpd.Config{Data: filepath.Join(file, "below")}, "open store"},
		"open elsewhere":  {smtpd.Config{Data: open}, "in use by another smtpd"},
		"not a database":  {smtpd.Config{Store: "sqlite:" + garbage(t)}, "open store"},
		"folder as store": {smtpd.Config{Store: "sqlite:" + t.TempDir()}, "open store"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.cfg.Data == "" && tt.cfg.Store == "" {
				tt.cfg.Data = t.TempDir()
			}
			if tt.cfg.SMTP == nil {
				tt.cfg.SMTP = []string{"127.0.0.1:0"}
			}
			if tt.cfg.HTTP == "" {
				tt.cfg.HTTP = smtpd.Off
			}
			srv, err := smtpd.New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := srv.Run(ctx); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run: %v, want %q in it", err, tt.want)
			}
		})
	}
}

func garbage(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "garbage.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEphemeralLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	s := start(t, smtpd.Config{Ephemeral: true})
	if list, _ := os.ReadDir(os.TempDir()); len(list) != 1 {
		t.Fatalf("%d folders while running, want 1", len(list))
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(os.TempDir()); err != nil || len(list) != 0 {
		t.Errorf("%v are left (%v)", list, err)
	}
}

// TestLogCannotBeForged says in every place what would look like a line of the
// log, and reads the log back.
func TestLogCannotBeForged(t *testing.T) {
	var log syncBuffer
	s := start(t, smtpd.Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c := s.dial()
	c.expect("220")
	c.send("EHLO x=1\tlevel=ERROR\r\n")
	c.expect("501")
	c.send("EHLO level=ERROR;msg=forged\r\n")
	c.expect("250")
	c.send("MAIL FROM:<\"a\\\" level=ERROR msg=forged\"@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n")
	for _, want := range []string{"250", "250", "354"} {
		c.expect(want)
	}
	c.send("Subject: x\r\n\r\nlevel=ERROR msg=forged\r\n.\r\n")
	c.expect("250")
	c.send("QUIT\r\n")
	c.expect("221")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(log.String()), "\n") {
		if !strings.HasPrefix(line, "time=") || strings.Contains(line, " level=ERROR") && !strings.Contains(line, `\" level=ERROR`) {
			t.Errorf("log line %q", line)
		}
	}
	if !strings.Contains(log.String(), "msg=accepted") {
		t.Errorf("the log has no accepted event:\n%s", log.String())
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestKeep(t *testing.T) {
	s := start(t, smtpd.Config{Keep: smtpd.Keep{Messages: 3}})
	c := s.hello()
	for i := range 10 {
		c.send(transaction + fmt.Sprintf("DATA\r\nSubject: %d\r\n\r\n.\r\n", i))
		for _, want := range []string{"250", "250", "354", "250"} {
			c.expect(want)
		}
	}
	waitFor(t, func() bool { return len(s.list()) == 3 })
	var subjects []string
	for _, m := range s.list() {
		subjects = append(subjects, m.Subject)
	}
	if got := strings.Join(subjects, " "); got != "9 8 7" {
		t.Errorf("kept %s, want 9 8 7", got)
	}
}

// waitFor asks until ok, which what runs beside the test makes true.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal("what was waited for did not happen")
		}
	}
}

func TestAPI(t *testing.T) {
	s := start(t, smtpd.Config{MaxSize: 4000})
	mail := "Subject: by http\n\nbare LF stays\r\n\x00"
	rfc822 := http.Header{"Content-Type": {"message/rfc822"}}
	post := func(query string, h http.Header, body string) (int, string) {
		status, text := s.do("POST", "/api/v1/messages"+query, h, strings.NewReader(body))
		return status, string(text)
	}
	if status, text := post("?from=a@a.example&to=b@b.example&to=%22q%20q%22@c.example", rfc822, mail); status != http.StatusCreated {
		t.Fatalf("POST: %d %s", status, text)
	}
	if got := s.stored(); got != mail {
		t.Errorf("stored %q, want %q", got, mail)
	}
	m := s.list()[0]
	if m.MailFrom != "a@a.example" || strings.Join(m.RcptTo, " ") != `b@b.example "q q"@c.example` || m.Subject != "by http" {
		t.Errorf("summary %+v", m)
	}

	huge := strings.Repeat("x", 5000)
	cases := []struct {
		name   string
		method string
		path   string
		header http.Header
		body   string
		status int
	}{
		{"type", "POST", "?from=a@a.example&to=b@b.example", http.Header{"Content-Type": {"text/plain"}}, mail, 415},
		{"no type", "POST", "?from=a@a.example&to=b@b.example", nil, mail, 415},
		{"no to", "POST", "?from=a@a.example", rfc822, mail, 400},
		{"no from", "POST", "?to=b@b.example", rfc822, mail, 400},
		{"bad to", "POST", "?from=a@a.example&to=b", rfc822, mail, 400},
		{"crlf in to", "POST", "?from=a@a.example&to=b@b.example%0d%0aX:y", rfc822, mail, 400},
		{"null from", "POST", "?from=&to=b@b.example", rfc822, mail, 201},
		{"too large", "POST", "?from=a@a.example&to=b@b.example", rfc822, huge, 413},
		{"just right", "POST", "?from=a@a.example&to=b@b.example", rfc822, huge[:4000], 201},
		{"one more", "POST", "?from=a@a.example&to=b@b.example", rfc822, huge[:4001], 413},
		{"no such", "GET", "/0123456789abcdefghjkmnpq", nil, "", 404},
		{"no id", "GET", "/..%2f..%2fetc%2fpasswd/raw", nil, "", 404},
		{"raw no such", "GET", "/0123456789abcdefghjkmnpq/raw", nil, "", 404},
		{"limit", "GET", "?limit=x", nil, "", 400},
		{"limit clamped", "GET", "?limit=0", nil, "", 200},
		{"limit clamped down", "GET", "?limit=99999999999999999999", nil, "", 200},
		{"cursor", "GET", "?cursor=zz", nil, "", 400},
		{"search", "GET", "?q=word", nil, "", 400},
		{"delete without q", "DELETE", "", nil, "", 400},
		{"delete by q", "DELETE", "?q=word", nil, "", 400},
		{"delete no such", "DELETE", "/0123456789abcdefghjkmnpq", nil, "", 404},
		{"method", "PUT", "", nil, "", 405},
		{"host", "GET", "", http.Header{"Host": {"rebound.example"}}, "", 421},
		{"host with our name", "GET", "", http.Header{"Host": {"MX.test.example:99"}}, "", 200},
		{"host localhost", "GET", "", http.Header{"Host": {"localhost"}}, "", 200},
		{"host other address", "GET", "", http.Header{"Host": {"192.0.2.1"}}, "", 421},
		{"origin", "GET", "", http.Header{"Origin": {"http://evil.example"}}, "", 403},
		{"origin null", "DELETE", "?q=*", http.Header{"Origin": {"null"}}, "", 403},
		{"origin other port", "DELETE", "?q=*", http.Header{"Origin": {"http://127.0.0.1:1"}}, "", 403},
		{"cross-site", "DELETE", "?q=*", http.Header{"Sec-Fetch-Site": {"cross-site"}}, "", 403},
		{"same-site", "POST", "?from=a@a.example&to=b@b.example", http.Header{"Sec-Fetch-Site": {"same-site"}, "Content-Type": {"message/rfc822"}}, mail, 403},
		{"own origin", "GET", "", http.Header{"Origin": {s.http}}, "", 200},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			status, text := s.do(tt.method, "/api/v1/messages"+tt.path, tt.header, strings.NewReader(tt.body))
			if status != tt.status {
				t.Errorf("%d %s, want %d", status, text, tt.status)
			}
			if status >= 400 && !bytes.Contains(text, []byte(`"title"`)) {
				t.Errorf("not a problem: %s", text)
			}
		})
	}
	if n := len(s.list()); n != 3 {
		t.Fatalf("%d messages are stored, want 3", n)
	}
	if status, _ := s.do("DELETE", "/api/v1/messages/"+m.ID, nil, nil); status != http.StatusNoContent {
		t.Errorf("DELETE: %d", status)
	}
	if status, _ := s.do("GET", "/api/v1/messages/"+m.ID+"/raw", nil, nil); status != http.StatusNotFound {
		t.Errorf("GET of what was deleted: %d", status)
	}
	if status, _ := s.do("DELETE", "/api/v1/messages?q=*", nil, nil); status != http.StatusNoContent || len(s.list()) != 0 {
		t.Errorf("DELETE of all: %d, %d left", status, len(s.list()))
	}
	if status, text := s.do("GET", "/healthz", nil, nil); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, text)
	}
}

// TestPaging walks the list by its cursor while messages arrive: none twice,
// none of the old ones left out.
func TestPaging(t *testing.T) {
	s := start(t, smtpd.Config{})
	c := s.hello()
	send := func(n int) {
		c.send(transaction + fmt.Sprintf("DATA\r\nSubject: %d\r\n\r\n.\r\n", n))
		for _, want := range []string{"250", "250", "354", "250"} {
			c.expect(want)
		}
	}
	for i := range 10 {
		send(i)
	}
	var got []string
	cursor := ""
	for page := 0; ; page++ {
		l := s.page("limit=3&cursor=" + cursor)
		for _, m := range l.Messages {
			got = append(got, m.Subject)
		}
		if !l.TotalExact || l.Total != int64(10+page) {
			t.Errorf("page %d: total %d, exact %v", page, l.Total, l.TotalExact)
		}
		if cursor = l.Next; cursor == "" {
			break
		}
		send(100 + page)
	}
	if want := "9 8 7 6 5 4 3 2 1 0"; strings.Join(got, " ") != want {
		t.Errorf("pages hold %v, want %s", got, want)
	}
}

// TestMetrics reads the counters back after a session that did a bit of all.
func TestMetrics(t *testing.T) {
	s := start(t, smtpd.Config{Auth: smtpd.AuthAny})
	c := s.hello()
	c.script("C: AUTH PLAIN " + b64("boss\x00ann\x00x") + "\nS: 535\nC: FOO\nS: 500")
	c.send(transaction + "DATA\r\nSubject: x\r\n\r\n.\r\n")
	for _, want := range []string{"250", "250", "354", "250 2.0.0"} {
		c.expect(want)
	}
	c.send("MAIL FROM:\x00\r\n")
	c.expect("500")
	c.expectEOF()
	c.Close()
	waitFor(t, func() bool { return len(s.sessions()) == 1 })
	text := string(s.get("/metrics"))
	for _, want := range []string{
		`smtpd_sessions_total{listener="smtp"} 1`, `smtpd_messages_total{via="smtp"} 1`, `smtpd_auth_total{result="failed"} 1`,
		`smtpd_replies_total{code="500"} 2`, `smtpd_closed_total{cause="bare-newline"} 1`, `smtpd_store_messages 1`,
		`smtpd_message_bytes_total 14`, `smtpd_commit_seconds_count 1`, `go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
