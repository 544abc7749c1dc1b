package smtpd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern.example/smtpd"
	"postern.example/smtpd/inbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for. Nothing is meant to take that long.
const patience = 30 * time.Second

// server is an smtpd that a test runs.
type server struct {
	t    *testing.T
	smtp string
	http string
	at   smtpd.Bound
	srv  *smtpd.Server
	stop func() error // drains, waits, and returns what Run did; may be called again
}

// start runs an smtpd on free ports over a folder of the test's, and stops it
// when the test ends.
func start(t *testing.T, cfg smtpd.Config) *server {
	t.Helper()
	if cfg.SMTP == nil && cfg.Submission == nil && cfg.SMTPS == nil && cfg.LMTP == nil {
		cfg.SMTP = []string{"127.0.0.1:0"}
	}
	if cfg.HTTP == "" {
		cfg.HTTP = "127.0.0.1:0"
	}
	if cfg.Data == "" && cfg.Store == "" && !cfg.Ephemeral {
		cfg.Data = t.TempDir()
	}
	if cfg.Hostname == "" {
		cfg.Hostname = "mx.test.example"
	}
	if cfg.Admit.GreetPause == 0 {
		cfg.Admit.GreetPause = -1 // strangers are not what most tests are about
	}
	ready := make(chan smtpd.Bound, 1)
	cfg.Ready = func(b smtpd.Bound) { ready <- b }
	srv, err := smtpd.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	s := &server{t: t, srv: srv}
	var result error
	var done bool
	s.stop = func() error {
		if !done {
			cancel()
			result, done = <-ended, true
		}
		return result
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case b := <-ready:
		s.at = b
		if len(b.SMTP) > 0 {
			s.smtp = b.SMTP[0].String()
		}
		if b.HTTP != nil {
			s.http = "http://" + b.HTTP.String()
		}
	case err := <-ended:
		ended <- err
		t.Fatalf("Run: %v", err)
	}
	return s
}

// client speaks SMTP by hand.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (s *server) dial() *client {
	s.t.Helper()
	return s.dialTo("tcp", s.smtp)
}

func (s *server) dialTo(network, addr string) *client {
	s.t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{s.t, c, newReader(c)}
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

// hello connects and gets as far as EHLO.
func (s *server) hello() *client {
	s.t.Helper()
	c := s.dial()
	c.expect("220")
	c.send("EHLO client.test.example\r\n")
	c.expect("250")
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// reply reads one reply with all its lines.
func (c *client) reply() (string, error) {
	var lines strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		lines.WriteString(line)
		if err != nil {
			return lines.String(), err
		}
		if len(line) < 4 || line[3] != '-' {
			return lines.String(), nil
		}
	}
}

// expect reads one reply and wants its last line to begin with prefix.
func (c *client) expect(prefix string) string {
	c.t.Helper()
	text, err := c.reply()
	if err != nil {
		c.t.Fatalf("got %q and %v, want a reply %q", text, err, prefix)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
	if !strings.HasPrefix(lines[len(lines)-1], prefix) {
		c.t.Fatalf("got %q, want a reply %q", text, prefix)
	}
	return text
}

// script runs a dialogue: lines "C: text" are sent with CRLF, "S: prefix" are
// replies, "S: EOF" is the end of the connection.
func (c *client) script(lines string) {
	c.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		who, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case who == "C" || who == "C:":
			c.send(text + "\r\n")
		case who == "S" && text == "EOF":
			c.expectEOF()
		case who == "S":
			c.expect(text)
		default:
			c.t.Fatalf("script line %q", line)
		}
	}
}

func (c *client) expectEOF() {
	c.t.Helper()
	if text, err := c.reply(); !errors.Is(err, io.EOF) || text != "" {
		c.t.Fatalf("got %q and %v, want the end of the connection", text, err)
	}
}

// list returns what is stored, newest first.
func (s *server) list() []inbox.Summary {
	s.t.Helper()
	return s.page("limit=1000").Messages
}

func (s *server) page(query string) inbox.List {
	s.t.Helper()
	var l inbox.List
	if err := json.Unmarshal(s.get("/api/v1/messages?"+query), &l); err != nil {
		s.t.Fatal(err)
	}
	return l
}

func (s *server) get(path string) []byte {
	s.t.Helper()
	status, body := s.do("GET", path, nil, nil)
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return body
}

func (s *server) do(method, path string, header http.Header, body io.Reader) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.http+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v[0]
		}
		req.Header[k] = v
	}
	hc := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := hc.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, text
}

// stored is the body of the only message that is there, without our Received
// field.
func (s *server) stored() string {
	s.t.Helper()
	l := s.list()
	if len(l) != 1 {
		s.t.Fatalf("%d messages are stored, want 1", len(l))
	}
	return s.body(l[0].ID)
}

func (s *server) body(id string) string {
	s.t.Helper()
	return withoutTrace(s.t, string(s.get("/api/v1/messages/"+id+"/raw")))
}

// withoutTrace takes our Received field off a stored message.
func withoutTrace(t *testing.T, raw string) string {
	t.Helper()
	if !strings.HasPrefix(raw, "Received: from ") {
		t.Fatalf("no Received field in front: %.80q", raw)
	}
	lines := strings.SplitAfter(raw, "\r\n")
	n := 1
	for n < len(lines) && strings.HasPrefix(lines[n], "\t") {
		n++
	}
	return strings.Join(lines[n:], "")
}

// testClock is a clock that a test sets.
type testClock struct{ at atomic.Int64 }

func (c *testClock) set(t time.Time) { c.at.Store(t.UnixNano()) }
func (c *testClock) now() time.Time  { return time.Unix(0, c.at.Load()) }
