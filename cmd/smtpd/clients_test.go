package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder stands between a client and smtpd and keeps what the client said, so
// that a test knows what was sent without trusting either.
type recorder struct {
	t    *testing.T
	l    net.Listener
	host string
	port string

	wg    sync.WaitGroup
	mu    sync.Mutex
	calls []*strings.Builder
}

func record(t *testing.T, server string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, l: l}
	r.host, r.port, _ = net.SplitHostPort(l.Addr().String())
	r.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			said := new(strings.Builder)
			r.mu.Lock()
			r.calls = append(r.calls, said)
			r.mu.Unlock()
			r.wg.Go(func() { r.pass(client, server, said) })
		}
	})
	t.Cleanup(func() { l.Close(); r.wg.Wait() })
	return r
}

func (r *recorder) pass(client net.Conn, addr string, said io.Writer) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(client, server)
		client.(*net.TCPConn).CloseWrite()
	})
	io.Copy(io.MultiWriter(server, said), client)
	server.(*net.TCPConn).CloseWrite()
	wg.Wait()
}

// sent are the bodies that went by, with the dots taken off again.
func (r *recorder) sent() []string {
	r.t.Helper()
	r.l.Close()
	r.wg.Wait()
	var all []string
	for _, said := range r.calls {
		in := bufio.NewReader(strings.NewReader(said.String()))
		var body *strings.Builder
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			switch {
			case body == nil && strings.EqualFold(line, "DATA\r\n"):
				body = new(strings.Builder)
			case body == nil:
			case line == ".\r\n":
				all = append(all, body.String())
				body = nil
			default:
				body.WriteString(strings.TrimPrefix(line, "."))
			}
		}
	}
	return all
}

const letter = "From: a@a.example\r\nTo: b@b.example\r\nSubject: real clients\r\n\r\n" +
	".leading dot\r\n..two\r\n.\r\ntab\tand 8 bits: \xc3\xbc\r\n\r\nlast\r\n"

// TestClients lets the clients that people use deliver, and compares what is
// stored with what went over the wire, and that with what they were given.
func TestClients(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "letter.eml")
	if err := os.WriteFile(file, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	lf := filepath.Join(dir, "letter-lf.eml")
	if err := os.WriteFile(lf, []byte(strings.ReplaceAll(letter, "\r\n", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := func(program string, stdin string, args ...string) func(t *testing.T, r *recorder) {
		return func(t *testing.T, r *recorder) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for i, a := range args {
				args[i] = strings.NewReplacer("HOST", r.host, "PORT", r.port, "FILE", file).Replace(a)
			}
			cmd := exec.CommandContext(ctx, program, args...)
			cmd.Env = append(os.Environ(), "HOME="+dir)
			if stdin != "" {
				f, err := os.Open(stdin)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				cmd.Stdin = f
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
	tests := []struct {
		name  string
		send  func(t *testing.T, r *recorder)
		count int    // messages that should arrive
		exact string // what the client was given, when it should not change it
	}{
		{"net-smtp", func(t *testing.T, r *recorder) {
			err := smtp.SendMail(r.l.Addr().String(), nil, "a@a.example", []string{"b@b.example", "c@c.example"}, []byte(letter))
			if err != nil {
				t.Fatal(err)
			}
		}, 1, letter},
		{"swaks", shell("swaks", "", "--server", "HOST", "--port", "PORT", "--from", "a@a.example",
			"--to", "b@b.example,c@c.example", "--body", "line\n.dot\n..dots\nlast", "--header", "X-Test: 1", "--attach", "@FILE"), 1, ""},
		{"swaks pipelining", shell("swaks", "", "--server", "HOST", "--port", "PORT", "--from", "a@a.example",
			"--to", "b@b.example", "--pipeline", "--data", "@FILE"), 1, ""},
		{"msmtp", shell("msmtp", lf, "--host=HOST", "--port=PORT", "--tls=off", "--auth=off",
			"--set-date-header=off", "--set-msgid-header=off", "--from=a@a.example", "b@b.example"), 1, letter},
		{"curl", shell("curl", "", "--silent", "--show-error", "--noproxy", "*", "smtp://HOST:PORT/client.example",
			"--mail-from", "a@a.example", "--mail-rcpt", "b@b.example", "--mail-rcpt", "c@c.example", "--upload-file", "FILE"), 1, letter},
		{"smtp-source", shell("smtp-source", "", "-s", "4", "-m", "40", "-l", "5000", "-f", "a@a.example", "-t", "b@b.example", "HOST:PORT"), 40, ""},
		{"smtp-source kept", shell("smtp-source", "", "-d", "-s", "4", "-m", "40", "-l", "100000", "-f", "a@a.example", "-t", "b@b.example", "HOST:PORT"), 40, ""},
		{"smtp-source recipients", shell("smtp-source", "", "-s", "2", "-m", "4", "-r", "50", "-f", "a@a.example", "-t", "b@b.example", "HOST:PORT"), 4, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name != "net-smtp" {
				program, _, _ := strings.Cut(tt.name, " ")
				needs(t, program)
			}
			p := startProcess(t, "--data", t.TempDir())
			r := record(t, p.smtp)
			tt.send(t, r)
			sent := r.sent()
			if len(sent) != tt.count {
				t.Fatalf("%d messages went over the wire, want %d", len(sent), tt.count)
			}
			var stored []string
			for _, body := range bodies(t, p.http) {
				stored = append(stored, body)
			}
			slices.Sort(sent)
			slices.Sort(stored)
			if !slices.Equal(sent, stored) {
				t.Errorf("%d are stored that are not the %d sent:\n%.300q\n%.300q", len(stored), len(sent), stored, sent)
			}
			if tt.exact != "" && stored[0] != tt.exact {
				t.Errorf("the client was given\n%q\nand stored is\n%q", tt.exact, stored[0])
			}
			terminate(t, p)
		})
	}
}

// terminate ends an smtpd whose temporary folder has to go with it.
func terminate(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.log)
	}
}
