package wire_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"postern.example/mailclient/wire"
	"postern.example/mailclient/wire/wiretest"
)

const startTLS = `
	S: 220 x
	C: EHLO localhost
	S: 250-x
	S: 250-AUTH LOGIN
	S: 250 STARTTLS
	C: STARTTLS
`
const secured = `
	S: 220 go
	TLS
	C: EHLO localhost
	S: 250-x
	S: 250 8BITMIME
`

func dial(t *testing.T, srv wire.Server, cfg wire.Config) (*wire.Conn, *wire.Error) {
	t.Helper()
	cfg.Timeouts = wire.Within(brief)
	c, err := wire.Dial(t.Context(), srv, cfg)
	e := (*wire.Error)(nil)
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	return c, e
}

func TestStartTLS(t *testing.T) {
	cert := wiretest.NewCertificate(t)
	good := []wire.Config{
		{}, // loopback
		{TLS: wire.TLSRequire, Insecure: true},
		{TLS: wire.TLSRequire, Roots: cert.Pool},
		{TLS: wire.TLSAuto, Roots: cert.Pool},
	}
	for i, cfg := range good {
		s := wiretest.ServeTLS(t, cert, startTLS+secured+bye)
		c, e := dial(t, target(t, s), cfg)
		if e != nil {
			t.Errorf("%d: %v", i, e)
			continue
		}
		if c.TLS() == nil {
			t.Errorf("%d: in the clear", i)
		}
		// What was offered before TLS counts for nothing.
		if _, ok := c.Extension("auth"); ok {
			t.Errorf("%d: an extension outlived the handshake", i)
		}
		if _, ok := c.Extension("8bitmime"); !ok {
			t.Errorf("%d: no 8BITMIME", i)
		}
		if err := c.Quit(t.Context()); err != nil {
			t.Error(err)
		}
	}
	other := wiretest.NewCertificate(t)
	bad := []struct {
		name, script string
		cfg          wire.Config
		want         string
	}{
		{"not offered", "S: 220 x\nC: EHLO*\nS: 250 x\nWAIT", wire.Config{TLS: wire.TLSRequire}, "starttls tls 0 permanent"},
		{"HELO only", "S: 220 x\nC: EHLO*\nS: 502 x\nC: HELO*\nS: 250 x\nWAIT", wire.Config{TLS: wire.TLSRequire}, "starttls tls 0 permanent"},
		{"refused for good", startTLS + "S: 554 no\nWAIT", wire.Config{}, "starttls tls 554 permanent"},
		{"refused for now", startTLS + "S: 454 4.7.0 later\nWAIT", wire.Config{}, "starttls refused 454"},
		{"odd answer", startTLS + "S: 250 x\nWAIT", wire.Config{}, "starttls protocol 0"},
		{"injected", startTLS + `S| 220 go\r\n250 injected\r\n` + "\nWAIT", wire.Config{}, "starttls protocol 0"},
		{"stranger's certificate", startTLS + "S: 220 go\nTLS\nWAIT", wire.Config{TLS: wire.TLSRequire, Roots: other.Pool}, "tls tls 0"},
		{"system's roots", startTLS + "S: 220 go\nTLS\nWAIT", wire.Config{TLS: wire.TLSRequire}, "tls tls 0"},
		{"no TLS after all", startTLS + "S: 220 go\nREAD 10\nS: 250 x\nWAIT", wire.Config{}, "tls tls 0"},
		{"closes", startTLS + "S: 220 go", wire.Config{}, "tls tls 0"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			s := wiretest.ServeTLS(t, cert, tt.script)
			_, e := dial(t, target(t, s), tt.cfg)
			if e == nil {
				t.Fatal("no error")
			}
			if got := short(wire.Status{Err: e}); got != tt.want {
				t.Errorf("%s, want %s (%v)", got, tt.want, e)
			}
			if strings.Contains(e.Error(), "tls: tls:") {
				t.Errorf("%v", e)
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		s := wiretest.Serve(t, "S: 220 x\nC: EHLO*\nS: 250-x\nS: 250 STARTTLS"+bye)
		c, e := dial(t, target(t, s), wire.Config{TLS: wire.TLSOff})
		if e != nil {
			t.Fatal(e)
		}
		if err := c.Quit(t.Context()); err != nil || c.TLS() != nil {
			t.Error(err, c.TLS())
		}
	})
}

// TestNamesAreVerified: away from loopback a certificate must be for the name
// that was asked for. The dialer stands in for the way there.
func TestNamesAreVerified(t *testing.T) {
	cert := wiretest.NewCertificate(t)
	for host, ok := range map[string]bool{"localhost": true, "mail.example": false} {
		s := wiretest.ServeTLS(t, cert, map[bool]string{
			true: startTLS + secured + bye, false: startTLS + "S: 220 go\nTLS\nWAIT",
		}[ok])
		srv := target(t, s)
		srv.Host = host
		c, e := dial(t, srv, wire.Config{Roots: cert.Pool, Lookup: elsewhere, Dial: detour(s.Addr)})
		if (e == nil) != ok {
			t.Errorf("%s: %v", host, e)
		}
		if c != nil {
			c.Quit(t.Context())
		}
		if e != nil && e.Kind != wire.Insecure {
			t.Errorf("%s: %v", host, e)
		}
	}
}

// elsewhere is an address of TEST-NET-1: not loopback, and never dialled.
func elsewhere(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

func detour(to string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, to)
	}
}

func TestSMTPS(t *testing.T) {
	cert := wiretest.NewCertificate(t)
	s := wiretest.ServeTLS(t, cert, "TLS\nS: 220 x\nC: EHLO*\nS: 250-x\nS: 250 STARTTLS"+bye, "S: 220 x\nWAIT")
	srv := target(t, s)
	srv.Scheme = wire.SMTPS
	c, e := dial(t, srv, wire.Config{TLS: wire.TLSRequire, Roots: cert.Pool})
	if e != nil {
		t.Fatal(e)
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	_, e = dial(t, srv, wire.Config{})
	if e == nil || e.Kind != wire.Insecure || !strings.Contains(e.Error(), "does not speak TLS") {
		t.Error(e)
	}
	if _, e = dial(t, srv, wire.Config{TLS: wire.TLSOff}); e == nil || e.Kind != wire.BadInput {
		t.Error(e)
	}
}

func TestAuth(t *testing.T) {
	const offer = "S: 220 x\nC: EHLO*\nS: 250-x\nS: 250 "
	// user "ada", password "top secret"
	const plain = "AGFkYQB0b3Agc2VjcmV0"
	tests := []struct{ name, script, want string }{
		{"PLAIN", offer + "auth login plain\nC: AUTH PLAIN " + plain + "\nS: 235 2.7.0 welcome" + bye, ""},
		{"LOGIN", offer + "AUTH=LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YWRh\nS: 334 UGFzc3dvcmQ6\nC: dG9wIHNlY3JldA==\nS: 235 welcome" + bye, ""},
		{"refused, and says it back", offer + "AUTH PLAIN\nC: AUTH*\nS: 535 5.7.8 " + plain + " is not top secret\nWAIT", "auth auth 535 permanent"},
		{"not now", offer + "AUTH PLAIN\nC: AUTH*\nS: 454 4.7.0 later\nWAIT", "auth refused 454"},
		{"LOGIN, user refused", offer + "AUTH LOGIN\nC: AUTH LOGIN\nS: 334 x\nC: YWRh\nS: 535 who?\nWAIT", "auth auth 535 permanent"},
		{"odd answer", offer + "AUTH PLAIN\nC: AUTH*\nS: 250 ok\nWAIT", "auth protocol 0"},
		{"endless questions", offer + "AUTH LOGIN\nC: AUTH*\nS: 334 x\nC: *\nS: 334 x\nC: *\nS: 334 x\nWAIT", "auth protocol 0"},
		{"not offered", offer + "HELP\nWAIT", "auth auth 0 permanent"},
		{"nothing we speak", offer + "AUTH CRAM-MD5\nWAIT", "auth auth 0 permanent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := wiretest.Serve(t, tt.script)
			var seen strings.Builder
			c, e := dial(t, target(t, s), wire.Config{User: "ada", Password: "top secret", Trace: func(e wire.Event) {
				seen.WriteString(e.Text + "\n")
			}})
			if e != nil {
				seen.WriteString(e.Error() + strings.Join(e.Reply.Lines, "\n"))
			}
			for _, secret := range []string{"top secret", plain, "dG9wIHNlY3JldA=="} {
				if strings.Contains(seen.String(), secret) {
					t.Errorf("the secret is shown: %s", seen.String())
				}
			}
			if tt.want == "" {
				if e != nil {
					t.Fatal(e)
				}
				if err := c.Quit(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			if e == nil {
				t.Fatal("no error")
			}
			if got := short(wire.Status{Err: e}); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	t.Run("never in the clear to another machine", func(t *testing.T) {
		s := wiretest.Serve(t, offer+"AUTH PLAIN\nWAIT")
		srv := target(t, s)
		srv.Host = "mail.example"
		_, e := dial(t, srv, wire.Config{User: "ada", Password: "top secret", Lookup: elsewhere, Dial: detour(s.Addr)})
		if e == nil || e.Kind != wire.AuthFailed || !strings.Contains(e.Error(), "in the clear") {
			t.Error(e)
		}
	})
}
