package smtpd_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern.example/smtpd"
	"postern.example/smtpd/admit"
)

// plainMail is what a go-smtp server without a gate was given.
type plainMail struct {
	from string
	to   []string
	body string
}

// plain is such a server. It keeps what its backend is handed.
type plain struct {
	addr string
	srv  *smtp.Server
	mu   sync.Mutex
	got  []plainMail
}

func startPlain(t *testing.T, set func(*smtp.Server)) *plain {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{addr: l.Addr().String()}
	p.srv = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &plainSession{p: p}, nil }))
	p.srv.Domain, p.srv.EnableSMTPUTF8 = "plain.test.example", true
	p.srv.ErrorLog = silent{}
	if set != nil {
		set(p.srv)
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.srv.Serve(l) })
	t.Cleanup(func() { p.srv.Close(); l.Close(); wg.Wait() })
	return p
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

type plainSession struct {
	p    *plain
	mail plainMail
}

func (s *plainSession) Reset()        { s.mail = plainMail{} }
func (s *plainSession) Logout() error { return nil }
func (s *plainSession) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.from = from
	return nil
}
func (s *plainSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = append(s.mail.to, to)
	return nil
}
func (s *plainSession) Data(r io.Reader) error {
	m := s.mail
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.body = string(b)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.got = append(s.p.got, m)
	return nil
}

// exchange sends lines as they are, ends its side, and returns all replies. Each
// server gets the same.
func exchange(t *testing.T, addr, say string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, say)
	c.(*net.TCPConn).CloseWrite()
	text, _ := io.ReadAll(c)
	return string(text)
}

// TestFaults holds smtpd against each known fault of go-smtp 0.25.1, and the
// library alone too: where that no longer has the fault, the test says so, and
// what stands in the gate for it may go.
func TestFaults(t *testing.T) {
	const hello = "EHLO c\r\n"
	// What is kept after a conversation, by each server.
	type outcome struct {
		replies string
		from    []string
		bodies  []string
	}
	say := func(text string) func(t *testing.T, addr string) string {
		return func(t *testing.T, addr string) string { return exchange(t, addr, text) }
	}
	noMail := func(o outcome) bool { return len(o.bodies) == 0 }
	tests := []struct {
		name  string
		cfg   smtpd.Config
		plain func(*smtp.Server)
		run   func(t *testing.T, addr string) string
		kept  func(o outcome) bool // what has to hold
	}{
		{"1 a truncated chunk is no message", smtpd.Config{}, nil,
			say(hello + transaction + "BDAT 1000 LAST\r\nSubject: x\r\n"), noMail},
		{"2 nothing behind a time-out is a command", smtpd.Config{}.WithLimits(smtpd.Limits{Data: 200 * time.Millisecond}),
			func(s *smtp.Server) { s.ReadTimeout = 200 * time.Millisecond },
			func(t *testing.T, addr string) string {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				r := newReader(c)
				io.WriteString(c, hello+transaction+"DATA\r\nSubject: x\r\n")
				for {
					line, err := r.ReadString('\n')
					if err != nil || strings.HasPrefix(line, "554") || strings.HasPrefix(line, "421") {
						break
					}
				}
				io.WriteString(c, transaction+"DATA\r\nSubject: from the body\r\n\r\n.\r\n")
				c.(*net.TCPConn).CloseWrite()
				rest, _ := io.ReadAll(r)
				return string(rest)
			}, noMail},
		{"3 the chunk of a wrong BDAT is no command", smtpd.Config{}, nil,
			say(hello + transaction + "BDAT 6 FOO\r\nNOOP\r\n" + "QUIT\r\n"),
			func(o outcome) bool {
				_, behind, _ := strings.Cut(o.replies, "501")
				return strings.Count(behind, "\n") == 1 // the reply itself and nothing behind it
			}},
		{"4 quotes of a local part stay", smtpd.Config{}, nil,
			say(hello + "MAIL FROM:<\"x> SIZE=1 <y\"@d.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n\r\n.\r\nQUIT\r\n"),
			func(o outcome) bool { return len(o.from) == 1 && o.from[0] == `"x> SIZE=1 <y"@d.example` }},
		{"5 control characters are refused in addresses", smtpd.Config{}, nil,
			say(hello + "MAIL FROM:<a\x1b@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n\r\n.\r\nQUIT\r\n"), noMail},
		{"5 UTF-8 needs SMTPUTF8", smtpd.Config{}, nil,
			say(hello + "MAIL FROM:<\xc3\xbc@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n\r\n.\r\nQUIT\r\n"), noMail},
		{"6 bare CR and bare LF are refused in a body", smtpd.Config{}, nil,
			say(hello + transaction + "DATA\r\nSubject: x\n\rtext\r\n.\r\nQUIT\r\n"), noMail},
		{"7 a second MAIL is out of sequence", smtpd.Config{}, nil,
			say(hello + transaction + "MAIL FROM:<second@a.example>\r\nQUIT\r\n"),
			func(o outcome) bool { return strings.Contains(o.replies, "\r\n503 5.5.1 ") }},
		{"7 a bad sequence is 503", smtpd.Config{}, nil, say(hello + "RCPT TO:<b@b.example>\r\nQUIT\r\n"),
			func(o outcome) bool { return strings.Contains(o.replies, "\r\n503 5.5.1 ") }},
		{"7 postmaster needs no domain", smtpd.Config{}, nil,
			say(hello + "MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n\r\n.\r\nQUIT\r\n"),
			func(o outcome) bool { return len(o.bodies) == 1 }},
		{"8 a message of exactly the limit is taken", smtpd.Config{MaxSize: 1024}, func(s *smtp.Server) { s.MaxMessageBytes = 1024 },
			say(hello + transaction + "DATA\r\n" + strings.Repeat("123456\r\n", 128) + ".\r\nQUIT\r\n"),
			func(o outcome) bool { return len(o.bodies) == 1 }},
		{"9 a chunk may be of one line", smtpd.Config{}, nil,
			say(hello + transaction + "BDAT 5000 LAST\r\n" + strings.Repeat("x", 5000) + "QUIT\r\n"),
			func(o outcome) bool { return len(o.bodies) == 1 && len(o.bodies[0]) == 5000 }},
		{"10 a failed handshake ends the connection", smtpd.Config{TLS: smtpd.TLSSelf},
			func(s *smtp.Server) {
				s.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.EOF }}
			},
			func(t *testing.T, addr string) string {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				r := newReader(c)
				io.WriteString(c, hello+"STARTTLS\r\n")
				for {
					line, err := r.ReadString('\n')
					if err != nil || strings.HasPrefix(line, "220 2") {
						break
					}
				}
				// Five bytes look like the head of a record, and are none.
				io.WriteString(c, "NOOP\r\n"+hello+transaction+"DATA\r\n\r\n.\r\n")
				c.(*net.TCPConn).CloseWrite()
				rest, _ := io.ReadAll(r)
				return string(rest)
			}, func(o outcome) bool { return len(o.bodies) == 0 && !strings.Contains(o.replies, "550") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Admit.Errors = -1
			s := start(t, tt.cfg)
			o := outcome{replies: tt.run(t, s.smtp)}
			for _, m := range s.list() {
				o.from, o.bodies = append(o.from, m.MailFrom), append(o.bodies, s.body(m.ID))
			}
			if !tt.kept(o) {
				t.Errorf("smtpd has the fault: %+v", o)
			}
			p := startPlain(t, tt.plain)
			o = outcome{replies: tt.run(t, p.addr)}
			p.srv.Shutdown(context.Background())
			for _, m := range p.got {
				o.from, o.bodies = append(o.from, m.from), append(o.bodies, m.body)
			}
			if tt.kept(o) {
				t.Errorf("go-smtp alone no longer has the fault: %+v", o)
			}
		})
	}
	t.Run("11 refused before the greeting", func(t *testing.T) {
		s := start(t, smtpd.Config{Block: prefixes(t, "127.0.0.1/32")})
		s.dial().script("S: 554 5.7.1\nS: EOF")
		p := startPlain(t, nil) // which has no place to say no before it has greeted
		if text := exchange(t, p.addr, ""); !strings.HasPrefix(text, "220") {
			t.Errorf("go-smtp alone says %q", text)
		}
	})
	t.Run("12 nothing is accepted once it shuts down", func(t *testing.T) {
		s := start(t, smtpd.Config{Admit: admit.Config{}})
		c := s.hello()
		c.send(transaction)
		c.script("S: 250\nS: 250\nC: RSET\nS: 250")
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		c.script("S: 421 4.3.2\nS: EOF")
		c.Close()
		if err := <-stopped; err != nil {
			t.Error(err)
		}

		p := startPlain(t, nil)
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle := &client{t, conn, newReader(conn)}
		conn.SetDeadline(time.Now().Add(patience))
		idle.script("S: 220\nC: EHLO c\nS: 250")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.srv.Shutdown(ctx)
		idle.send(transaction + "DATA\r\n\r\n.\r\nQUIT\r\n")
		if text, _ := io.ReadAll(idle.r); !strings.Contains(string(text), "250 2.0.0 OK: queued") {
			t.Errorf("go-smtp alone no longer delivers after Shutdown: %q", text)
		}
	})
}
