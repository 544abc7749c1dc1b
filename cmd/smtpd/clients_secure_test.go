//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestClientsWithExtensions lets real clients use what smtpd offers beyond plain
// SMTP, and looks at what is stored, and at the Received field for how it came.
func TestClientsWithExtensions(t *testing.T) {
	dir, err := os.MkdirTemp("", "smtpd-clients") // a socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "letter.eml")
	if err := os.WriteFile(file, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "lmtp")
	args := []string{"--tls", "self", "--auth", "any", "--smtps", "127.0.0.1:0", "--lmtp", socket}
	// swaks ends what it is given with a line of its own.
	fromSwaks := letter + "\r\n"
	swaks := func(args ...string) []string {
		return append([]string{"swaks", "--from", "a@a.example", "--to", "b@b.example,c@c.example", "--data", "@" + file}, args...)
	}
	tests := []struct {
		name  string
		with  []string // flags of smtpd
		run   []string // HOST, PORT, SECURE and PEM are filled in
		want  string   // the body; empty: what the client makes itself
		via   string
		other string // what else the Received field has to say
	}{
		{"swaks tls", nil, swaks("--server", "HOST", "--port", "PORT", "--tls"), fromSwaks, "ESMTPS", "using TLSv1.3"},
		{"swaks tls verified", nil, swaks("--server", "localhost", "--port", "PORT", "--tls", "--tls-verify", "--tls-ca-path", "PEM"), fromSwaks, "ESMTPS", ""},
		{"swaks smtps", nil, swaks("--server", "HOST", "--port", "SECURE", "--tls-on-connect"), fromSwaks, "ESMTPS", ""},
		{"swaks auth plain", nil, swaks("--server", "HOST", "--port", "PORT", "--auth", "PLAIN", "--auth-user", "ann", "--auth-password", "x"), fromSwaks, "ESMTPA", ""},
		{"swaks tls auth login", nil, swaks("--server", "HOST", "--port", "PORT", "--tls", "--auth", "LOGIN", "--auth-user", "ann", "--auth-password", "x"), fromSwaks, "ESMTPSA", ""},
		{"swaks pipelining tls", nil, swaks("--server", "HOST", "--port", "PORT", "--tls", "--pipeline"), fromSwaks, "ESMTPS", ""},
		{"swaks proxy 1", []string{"--proxy-from", "127.0.0.0/8"}, swaks("--server", "HOST", "--port", "PORT",
			"--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source", "192.0.2.1", "--proxy-source-port", "1000",
			"--proxy-dest", "192.0.2.2", "--proxy-dest-port", "25"), fromSwaks, "ESMTP", "([192.0.2.1])"},
		{"swaks proxy 2", []string{"--proxy-from", "127.0.0.0/8"}, swaks("--server", "HOST", "--port", "PORT",
			"--proxy-version", "2", "--proxy-command", "PROXY", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM",
			"--proxy-source", "192.0.2.1", "--proxy-source-port", "1000", "--proxy-dest", "192.0.2.2", "--proxy-dest-port", "25"),
			fromSwaks, "ESMTP", "([192.0.2.1])"},
		{"swaks xclient", []string{"--xclient-from", "127.0.0.1"}, swaks("--server", "HOST", "--port", "PORT",
			"--xclient-addr", "192.0.2.1", "--xclient-helo", "real.client.example"), fromSwaks, "ESMTP", "from real.client.example ([192.0.2.1])"},
		{"swaks lmtp", nil, swaks("--socket", socket, "--protocol", "LMTP"), fromSwaks, "LMTP", "(local socket)"},
		{"msmtp tls auth", nil, []string{"msmtp", "--host=HOST", "--port=PORT", "--tls=on", "--tls-starttls=on", "--tls-certcheck=off",
			"--auth=plain", "--user=ann", "--passwordeval=echo x", "--set-date-header=off", "--set-msgid-header=off",
			"--from=a@a.example", "b@b.example"}, letter, "ESMTPSA", ""},
		{"curl tls", nil, []string{"curl", "--silent", "--show-error", "--noproxy", "*", "--ssl-reqd", "--cacert", "PEM", "--user", "ann:x",
			"smtp://localhost:PORT/client.example", "--mail-from", "a@a.example", "--mail-rcpt", "b@b.example", "--upload-file", file}, letter, "ESMTPSA", ""},
		{"curl smtps", nil, []string{"curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", "PEM",
			"smtps://localhost:SECURE/client.example", "--mail-from", "a@a.example", "--mail-rcpt", "b@b.example", "--upload-file", file}, letter, "ESMTPS", ""},
		{"smtp-source lmtp", nil, []string{"smtp-source", "-L", "-s", "1", "-m", "1", "-l", "4096", "-f", "a@a.example", "-t", "b@b.example", "unix:" + socket}, "", "LMTP", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			needs(t, tt.run[0])
			data := t.TempDir()
			p := startProcess(t, append(append([]string{"--data", data}, args...), tt.with...)...)
			host, port, _ := net.SplitHostPort(p.smtp)
			_, secure, _ := net.SplitHostPort(p.smtps)
			fill := strings.NewReplacer("HOST", host, "PORT", port, "SECURE", secure, "PEM", filepath.Join(data, "smtpd-self.crt"))
			var run []string
			for _, a := range tt.run {
				run = append(run, fill.Replace(a))
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, run[0], run[1:]...)
			cmd.Env = append(os.Environ(), "HOME="+dir)
			in, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			cmd.Stdin = in
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for id, body := range bodies(t, p.http) {
				if tt.want != "" && body != tt.want {
					t.Errorf("stored %q, want %q", body, tt.want)
				}
				raw := string(get(t, p.http+"/api/v1/messages/"+id+"/raw"))
				if trace := strings.TrimSuffix(raw, body); !strings.Contains(trace, " with "+tt.via+" id ") || !strings.Contains(trace, tt.other) {
					t.Errorf("trace field %q", trace)
				}
			}
			if n := len(bodies(t, p.http)); n != 1 {
				t.Errorf("%d messages are stored", n)
			}
			terminate(t, p)
		})
	}
}

// TestNetSMTPWithTLS uses Go's own client with STARTTLS and PLAIN.
func TestNetSMTPWithTLS(t *testing.T) {
	data := t.TempDir()
	p := startProcess(t, "--data", data, "--tls", "self", "--auth", "any")
	pem, err := os.ReadFile(filepath.Join(data, "smtpd-self.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := smtp.Dial(p.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	steps := []func() error{
		func() error { return c.StartTLS(&tls.Config{RootCAs: pool, ServerName: "localhost"}) },
		func() error { return c.Auth(smtp.PlainAuth("", "ann", "x", "127.0.0.1")) },
		func() error { return c.Mail("a@a.example") },
		func() error { return c.Rcpt("b@b.example") },
		func() error {
			w, err := c.Data()
			if err != nil {
				return err
			}
			if _, err := w.Write([]byte(letter)); err != nil {
				return err
			}
			return w.Close()
		},
		c.Quit,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	for _, body := range bodies(t, p.http) {
		if body != letter {
			t.Errorf("stored %q", body)
		}
	}
	terminate(t, p)
}
