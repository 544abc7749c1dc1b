package mailclient_test

import (
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"postern.example/mailclient"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is go-smtp's server, which keeps what it is given.
type peer struct {
	url string

	mu   sync.Mutex
	mail []kept
}

type kept struct {
	from string
	to   []string
	opts smtp.MailOptions
	body string
}

func (p *peer) all() []kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mail
}

func (p *peer) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{p: p}, nil }

type session struct {
	p *peer
	m kept
}

func (s *session) Reset()        { s.m = kept{} }
func (s *session) Logout() error { return nil }
func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.m = kept{from: from, opts: *o}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	switch to {
	case "nobody@x":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	case "later@x":
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "later"}
	}
	s.m.to = append(s.m.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.body = string(b)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.mail = append(s.p.mail, s.m)
	return nil
}

func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	if err := s.Data(r); err != nil {
		return err
	}
	for _, to := range s.m.to {
		var err error
		if to == "full@x" {
			err = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 2, 2}, Message: "full"}
		}
		status.SetStatus(to, err)
	}
	return nil
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "ada" || password != "secret" {
			return errors.New("no")
		}
		return nil
	}), nil
}

// newPeer starts the server; set may change it first.
func newPeer(t testing.TB, set func(*smtp.Server)) *peer {
	t.Helper()
	p := &peer{}
	srv := smtp.NewServer(p)
	srv.Domain = "mail.example"
	srv.EnableSMTPUTF8 = true
	srv.AllowInsecureAuth = true
	srv.ReadTimeout, srv.WriteTimeout = 20*time.Second, 20*time.Second
	srv.ErrorLog = quiet{}
	if set != nil {
		set(srv)
	}
	network, addr, scheme := "tcp", "127.0.0.1:0", "smtp://"
	if srv.LMTP {
		if runtime.GOOS == "windows" {
			t.Skip("missing: Unix sockets")
		}
		dir, err := os.MkdirTemp("", "lmtp")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		network, addr, scheme = "unix", filepath.Join(dir, "s"), "lmtp+unix://"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	p.url = scheme + l.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return p
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func withTLS(cert tls.Certificate) func(*smtp.Server) {
	return func(s *smtp.Server) { s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} }
}

func box(t testing.TB, s string) mailclient.Mailbox {
	t.Helper()
	m, err := mailclient.ParseMailbox(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// compose makes a message of d, from Ada to b@y unless d says otherwise.
func compose(t testing.TB, d mailclient.Draft) *mailclient.Message {
	t.Helper()
	if d.From == (mailclient.Mailbox{}) {
		d.From = box(t, "Ada <ada@x>")
	}
	if d.To == nil {
		d.To = []mailclient.Mailbox{box(t, "b@y")}
	}
	m, err := mailclient.Compose(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func content(t testing.TB, m *mailclient.Message) string {
	t.Helper()
	b, err := io.ReadAll(m.Open())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != m.Size() {
		t.Errorf("Size is %d, the message has %d bytes", m.Size(), len(b))
	}
	return string(b)
}
