package wire_test

import (
	"strings"
	"testing"

	"postern.example/mailclient/wire"
)

func TestParseServer(t *testing.T) {
	for in, want := range map[string]wire.Server{
		"smtp://127.0.0.1:2525":        {Scheme: wire.SMTP, Host: "127.0.0.1", Port: 2525},
		"SMTP://mail.example/":         {Scheme: wire.SMTP, Host: "mail.example", Port: 25},
		"smtps://my_host":              {Scheme: wire.SMTPS, Host: "my_host", Port: 465},
		"smtp://[::1]:25":              {Scheme: wire.SMTP, Host: "::1", Port: 25},
		"smtp://[fe80::1%25eth0]:25":   {Scheme: wire.SMTP, Host: "fe80::1%eth0", Port: 25},
		"lmtp+unix:///run/lmtp.sock":   {Scheme: wire.LMTP, Path: "/run/lmtp.sock"},
		"lmtp+unix:///run/a%20b%3Fc":   {Scheme: wire.LMTP, Path: "/run/a b?c"},
		"smtp://mail.example.:65535":   {Scheme: wire.SMTP, Host: "mail.example.", Port: 65535},
		"smtp://xn--bcher-kva.example": {Scheme: wire.SMTP, Host: "xn--bcher-kva.example", Port: 25},
	} {
		got, err := wire.ParseServer(in)
		if err != nil || got != want {
			t.Errorf("ParseServer(%q) = %+v, %v", in, got, err)
		}
		if back, err := wire.ParseServer(got.String()); err != nil || back != got {
			t.Errorf("ParseServer(%q) = %+v, %v; want %+v", got.String(), back, err, got)
		}
	}
	for _, in := range []string{
		"", "127.0.0.1:25", "smtp:", "smtp:127.0.0.1", "smtp://", "smtp://:25", "http://x", "lmtp://x",
		"smtp://x:0", "smtp://x:65536", "smtp://x:25x", "smtp://x:", "smtp://x:-1", "smtp://u@x", "smtp://u:p@x",
		"smtp://x/path", "smtp://x?q", "smtp://x?", "smtp://x#f", "smtp://x#", "smtp://a b", "smtp://a\r\nb", "smtp://a\x1b",
		"smtp://a..b", "smtp://bücher.example", "smtp://[::1", "smtp://[nonsense]:25", "smtp://a%0d%0ab", "smtp://" + strings.Repeat("a", 64),
		"lmtp+unix://", "lmtp+unix:///", "lmtp+unix://host/path", "lmtp+unix://relative", "lmtp+unix:///a?b", "lmtp+unix:///a%00", "lmtp+unix:///a%zz",
	} {
		got, err := wire.ParseServer(in)
		if err == nil {
			t.Errorf("ParseServer(%q) = %+v", in, got)
		} else if s := err.Error(); s != wire.Printable(s) || strings.Contains(s, "\n") {
			t.Errorf("ParseServer(%q): error %q is not one safe line", in, s)
		}
	}
}

func FuzzParseServer(f *testing.F) {
	f.Add("smtp://[fe80::1%25eth0]:25")
	f.Add("lmtp+unix:///run/a%20b")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := wire.ParseServer(s)
		if err != nil {
			return
		}
		if back, err := wire.ParseServer(got.String()); err != nil || back != got {
			t.Errorf("ParseServer(%q) = %+v, %v; want %+v", got.String(), back, err, got)
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 用户 👍":           "plain ü 用户 👍",
		"a\r\nb\tc\x00":          `a\x0d\x0ab\x09c\x00`,
		"\x1b[31mred\x7f":        `\x1b[31mred\x7f`,
		"\u009b31m":              `\u009b31m`,
		"a\u202eb\u2066c\u200fd": `a\u202eb\u2066c\u200fd`,
		"\xff\xfe":               `\xff\xfe`,
		"\u2028\ufeff":           `\u2028\ufeff`,
		"\U000e0001":             `\U000e0001`,
		"":                       "",
	} {
		if got := wire.Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}
