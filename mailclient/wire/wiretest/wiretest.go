// Package wiretest is a mail server for tests that does what a script says,
// right or wrong, on a loopback port of its own.
//
// A script has a line for each step:
//
//	S: text   write the text and CRLF
//	S| text   write the text as it is
//	C: text   read a line, which must be the text; a * at its end stands for any rest
//	BODY      read lines up to and with the one of a single dot
//	TLS       take a TLS handshake
//	WAIT      read until the client is gone
//	READ n    read n bytes, whatever they are
//
// Text may hold Go's escapes, such as \x1b or \x00. After its last step the
// server closes the connection. A client that does something else fails the
// test, as does one that does not come.
package wiretest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// limit ends a conversation that hangs, well before go test would.
const limit = 20 * time.Second

// Server is a scripted server.
type Server struct {
	Addr string // host:port, or the path of the socket

	wg     sync.WaitGroup
	tls    *tls.Config
	mu     sync.Mutex
	bodies []string
}

// Serve takes one connection for each script, in order, on 127.0.0.1.
func Serve(t testing.TB, scripts ...string) *Server { return ServeTLS(t, nil, scripts...) }

// ServeTLS is Serve with a certificate for the step TLS.
func ServeTLS(t testing.TB, cert *Certificate, scripts ...string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, cert, scripts)
}

// ServeUnix is Serve on a Unix socket.
func ServeUnix(t testing.TB, scripts ...string) *Server {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("missing: Unix sockets")
	}
	dir, err := os.MkdirTemp("", "wire") // t.TempDir is too long for a socket on some systems
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, nil, scripts)
}

func serve(t testing.TB, l net.Listener, cert *Certificate, scripts []string) *Server {
	s := &Server{Addr: l.Addr().String()}
	if cert != nil {
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	}
	// A client that never comes must not keep the test waiting.
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(time.Now().Add(limit))
	}
	s.wg.Go(func() {
		for i, script := range scripts {
			conn, err := l.Accept()
			if err != nil {
				t.Errorf("script %d: no client came: %v", i+1, err)
				return
			}
			if err := s.play(conn, script); err != nil {
				t.Errorf("script %d: %v", i+1, err)
			}
		}
	})
	t.Cleanup(func() {
		s.wg.Wait()
		l.Close()
	})
	return s
}

// Wait returns once all scripts are done, and gives the messages that BODY read,
// still dot-stuffed, without the last dot.
func (s *Server) Wait() []string {
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies
}

func (s *Server) play(conn net.Conn, script string) error {
	raw := conn
	defer func() { raw.Close() }()
	conn.SetDeadline(time.Now().Add(limit))
	r := bufio.NewReader(conn)
	n := 0
	for step := range strings.Lines(script) {
		step = strings.TrimSpace(step)
		if n++; step == "" {
			continue
		}
		if err := s.step(&conn, &r, step); err != nil {
			return fmt.Errorf("line %d, %q: %w", n, step, err)
		}
	}
	if conn != raw {
		conn.Close() // says good-bye in TLS
	}
	return nil
}

func (s *Server) step(conn *net.Conn, r **bufio.Reader, step string) error {
	op, arg, _ := strings.Cut(step, " ")
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(arg, `"`, `\"`) + `"`)
	if err != nil {
		return fmt.Errorf("unquote: %w", err)
	}
	switch op {
	case "S:":
		_, err = io.WriteString(*conn, text+"\r\n")
	case "S|":
		_, err = io.WriteString(*conn, text)
	case "C:":
		line, rerr := (*r).ReadString('\n')
		if rerr != nil {
			return fmt.Errorf("client said %q: %w", line, rerr)
		}
		line = strings.TrimSuffix(line, "\r\n")
		if head, any := strings.CutSuffix(text, "*"); line != text && !(any && strings.HasPrefix(line, head)) {
			return fmt.Errorf("client said %q", line)
		}
	case "BODY":
		err = s.body(*r)
	case "TLS":
		t := tls.Server(*conn, s.tls)
		if err := t.Handshake(); err != nil {
			return nil // that is for the client to judge
		}
		*conn, *r = t, bufio.NewReader(t)
	case "WAIT":
		io.Copy(io.Discard, *r)
	case "READ":
		n, _ := strconv.ParseInt(arg, 10, 64)
		_, err = io.CopyN(io.Discard, *r, n)
	default:
		return fmt.Errorf("no such step")
	}
	return err
}

func (s *Server) body(r *bufio.Reader) error {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("in the message: %w", err)
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(line)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, b.String())
	return nil
}

// Certificate is one for 127.0.0.1 and localhost, and what trusts it.
type Certificate struct {
	TLS  tls.Certificate
	Pool *x509.CertPool
	PEM  []byte
}

// NewCertificate makes a certificate that is its own authority.
func NewCertificate(t testing.TB) *Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &Certificate{
		TLS:  tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		Pool: x509.NewCertPool(),
		PEM:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
	c.Pool.AddCert(parsed)
	return c
}
