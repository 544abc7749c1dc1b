package mailclient_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-message"
	"github.com/google/go-cmp/cmp"

	"postern.example/mailclient"
)

func TestComposePlain(t *testing.T) {
	m := compose(t, mailclient.Draft{
		From:      box(t, "Ada L <ada@x.example>"),
		To:        []mailclient.Mailbox{box(t, "b@y"), box(t, `"C, the third" <c@y>`)},
		Cc:        []mailclient.Mailbox{box(t, "b@y"), box(t, "d@y")},
		Bcc:       []mailclient.Mailbox{box(t, "hidden@z")},
		Subject:   "Hello",
		Text:      "One\nTwo\r\n.\n",
		Header:    []mailclient.Field{{Name: "X-Kind", Value: "test"}, {Name: "X-kind", Value: "again"}},
		Date:      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		MessageID: "1@x.example",
	})
	want := strings.ReplaceAll(`Date: Fri, 02 Jan 2026 03:04:05 +0000
From: "Ada L" <ada@x.example>
To: b@y, "C, the third" <c@y>
Cc: b@y, d@y
Subject: Hello
Message-ID: <1@x.example>
X-Kind: test
X-kind: again
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

One
Two
.
`, "\n", "\r\n")
	if diff := cmp.Diff(want, content(t, m)); diff != "" {
		t.Error(diff)
	}
	var to []string
	for _, a := range m.To {
		to = append(to, a.String())
	}
	if diff := cmp.Diff([]string{"b@y", "c@y", "d@y", "hidden@z"}, to); diff != "" {
		t.Error(diff)
	}
	if m.From.String() != "ada@x.example" || m.EightBit() || m.UTF8() {
		t.Error(m.From, m.EightBit(), m.UTF8())
	}
}

// TestComposeLeaksNothing: nothing in the message names this machine, its
// programs or its zone.
func TestComposeLeaksNothing(t *testing.T) {
	text := content(t, compose(t, mailclient.Draft{Text: "x"}))
	host, _ := os.Hostname()
	if host != "" && host != "localhost" && len(host) > 3 && strings.Contains(text, host) {
		t.Errorf("the name of this host is in %s", text)
	}
	if !regexp.MustCompile(`(?m)^Message-ID: <[a-z2-7]{26}@x>\r$`).MatchString(text) || !strings.Contains(text, " +0000\r\n") {
		t.Error(text)
	}
}

func TestComposeParts(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "größe \"1\".bin")
	if filepath.Separator == '\\' {
		file = filepath.Join(dir, "größe 1.bin")
	}
	big := make([]byte, 3<<20)
	src := rand.NewChaCha8([32]byte{1})
	src.Read(big)
	if err := os.WriteFile(file, big, 0o600); err != nil {
		t.Fatal(err)
	}
	m := compose(t, mailclient.Draft{
		Subject: "Grüße \t aus =?utf-8?q?x?= " + strings.Repeat("ä", 200),
		Text:    "Hällo\nFrom here\n" + strings.Repeat("long ", 300) + "\n",
		HTML:    "<p>H&auml;llo</p>",
		Attachments: []mailclient.Attachment{
			mailclient.AttachFile(file),
			{Name: "../../etc/\u202epasswd\r\nX: y.eml", Open: func() (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader("From: x\n\ny")), nil
			}},
		},
	})
	raw := content(t, m)
	if m.EightBit() {
		t.Error("needs 8BITMIME")
	}
	for line := range strings.Lines(raw) {
		if !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\r") != 1 {
			t.Fatalf("line end of %q", line)
		}
		if len(line) > 78+2 {
			t.Fatalf("line of %d octets: %q", len(line), line)
		}
	}
	e, err := message.Read(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := e.Header.Text("Subject")
	if err != nil || subject != "Grüße \t aus =?utf-8?q?x?= "+strings.Repeat("ä", 200) {
		t.Errorf("%q, %v", subject, err)
	}
	var got []string
	e.Walk(func(path []int, e *message.Entity, err error) error {
		if err != nil {
			t.Error(err)
		}
		kind, _, _ := e.Header.ContentType()
		_, params, _ := e.Header.ContentDisposition()
		line := kind
		if !strings.HasPrefix(kind, "multipart/") {
			b, err := io.ReadAll(e.Body)
			if err != nil {
				t.Error(err)
			}
			line += " " + params["filename"]
			if bytes.Equal(b, big) {
				line += " big"
			} else {
				line += " " + string(b)
			}
		}
		got = append(got, line)
		return nil
	})
	want := []string{
		"multipart/mixed", "multipart/alternative",
		"text/plain  Hällo\r\nFrom here\r\n" + strings.Repeat("long ", 300) + "\r\n",
		"text/html  <p>H&auml;llo</p>\r\n",
		"application/octet-stream " + filepath.Base(file) + " big",
		"application/octet-stream _passwd__X: y.eml From: x\n\ny",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestComposeRefuses(t *testing.T) {
	to := []mailclient.Mailbox{box(t, "b@y")}
	from := box(t, "a@x")
	open := func(r io.Reader) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(r), nil }
	}
	drafts := map[string]mailclient.Draft{
		"nobody":             {From: from},
		"empty recipient":    {From: from, To: []mailclient.Mailbox{{}}},
		"subject with lines": {From: from, To: to, Subject: "a\r\nBcc: x@y"},
		"subject with LF":    {From: from, To: to, Subject: "a\nb"},
		"subject with ESC":   {From: from, To: to, Subject: "a\x1b"},
		"subject not UTF-8":  {From: from, To: to, Subject: "\xff"},
		"field with lines":   {From: from, To: to, Header: []mailclient.Field{{Name: "X", Value: "a\r\n\r\nbody"}}},
		"field name":         {From: from, To: to, Header: []mailclient.Field{{Name: "X\r\nY", Value: "a"}}},
		"field name colon":   {From: from, To: to, Header: []mailclient.Field{{Name: "X:", Value: "a"}}},
		"bcc as field":       {From: from, To: to, Header: []mailclient.Field{{Name: "bCC", Value: "x@y"}}},
		"MIME as field":      {From: from, To: to, Header: []mailclient.Field{{Name: "Content-type", Value: "x/y"}}},
		"two subjects":       {From: from, To: to, Header: []mailclient.Field{{Name: "Subject", Value: "a"}, {Name: "subject", Value: "b"}}},
		"broken reply-to":    {From: from, To: to, Header: []mailclient.Field{{Name: "Reply-To", Value: "a b c"}}},
		"message id":         {From: from, To: to, MessageID: "a b@c"},
		"message id bracket": {From: from, To: to, MessageID: "a>@c"},
		"text not UTF-8":     {From: from, To: to, Text: "\xff"},
		"text with NUL":      {From: from, To: to, Text: "a\x00"},
		"too large":          {From: from, To: to, Text: "abc", MaxSize: 100},
		"no such file":       {From: from, To: to, Attachments: []mailclient.Attachment{mailclient.AttachFile("no/such/file")}},
		"file breaks":        {From: from, To: to, Attachments: []mailclient.Attachment{{Name: "x", Open: open(iotest.ErrReader(errors.New("disk")))}}},
		"endless file":       {From: from, To: to, MaxSize: 3 << 20, Attachments: []mailclient.Attachment{{Name: "x", Open: open(endless{})}}},
	}
	unsendable := map[string]bool{"text not UTF-8": true, "text with NUL": true, "too large": true, "endless file": true}
	for name, d := range drafts {
		m, err := mailclient.Compose(d)
		if err == nil {
			t.Errorf("%s: composed", name)
			m.Close()
			continue
		}
		if errors.Is(err, mailclient.ErrUnsendable) != unsendable[name] {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestParseMailbox(t *testing.T) {
	for in, want := range map[string]string{
		"a@x":                        "a@x",
		"<a@x>":                      "a@x",
		" Ada <a@x> ":                `"Ada" <a@x>`,
		`"Ada \"the\" <L>" <a@x>`:    `"Ada \"the\" <L>" <a@x>`,
		`Ada <"a b> <c"@x>`:          `"Ada" <"a b> <c"@x>`,
		"Åda <a@x>":                  "=?utf-8?q?=C3=85da?= <a@x>",
		`"Å (x), y" <a@x>`:           "=?utf-8?b?w4UgKHgpLCB5?= <a@x>",
		"=?utf-8?q?Eve?= <a@x>":      "=?utf-8?B?PT91dGYtOD9xP0V2ZT89?= <a@x>",
		"<>":                         "<>",
		"用户 <用户@例子.广告>":              "=?utf-8?q?=E7=94=A8=E6=88=B7?= <用户@例子.广告>",
		`"a"@x`:                      "a@x",
		`Ada <@relay.example:a@x>`:   `"Ada" <a@x>`,
		"Ada <postmaster>":           `"Ada" <postmaster>`,
		"a.b (no comment) <a@x>":     `"a.b (no comment)" <a@x>`,
		`"" <a@x>`:                   "a@x",
		"Ada   Lovelace <ada@x.y.z>": "=?utf-8?B?QWRhICAgTG92ZWxhY2U=?= <ada@x.y.z>",
	} {
		m, err := mailclient.ParseMailbox(in)
		if err != nil || m.String() != want {
			t.Errorf("ParseMailbox(%q) = %s, %v; want %s", in, m, err, want)
		}
	}
	for _, in := range []string{
		"", "Ada", "Ada <a@x", "a@x>", "Ada <>x", "<a@x> Ada", "a@x, b@y", "Ada\r\nBcc: c@z <a@x>", "Ada\x1b <a@x>",
		"Ada\u2028L <a@x>", "\xff <a@x>", `"Ada <a@x>`, `"Ada" x <a@x>`, "A <b> <a@x>", strings.Repeat("<", 1000) + ">",
	} {
		if m, err := mailclient.ParseMailbox(in); err == nil {
			t.Errorf("ParseMailbox(%q) = %v", in, m)
		}
	}
}

// FuzzCompose: whatever goes into a header comes back from it by a reader that
// is not ours, and adds no field.
func FuzzCompose(f *testing.F) {
	f.Add("Hello", "Ada", "X-A", "b")
	f.Add("a  b\t=?utf-8?q?x?=", `"A" <b>, (c)`, "Subject", strings.Repeat("ä ", 90))
	f.Add(strings.Repeat("x", 1200), "  ", "X", " ")
	f.Add(strings.Repeat("\x92", 100), strings.Repeat("\x92", 100), "X", strings.Repeat("\x92", 100)) // once without end
	f.Fuzz(func(t *testing.T, subject, name, key, value string) {
		from := box(t, "a@x.example")
		from.Name = name
		d := mailclient.Draft{From: from, To: []mailclient.Mailbox{box(t, "b@y")}, Subject: subject, Text: "body\n"}
		if key != "" {
			d.Header = []mailclient.Field{{Name: key, Value: value}}
		}
		if _, err := mailclient.ParseMailbox(from.String()); err != nil {
			return // a name that ParseMailbox would not have given
		}
		m, err := mailclient.Compose(d)
		if err != nil {
			return
		}
		defer m.Close()
		raw := content(t, m)
		for line := range strings.Lines(raw) {
			if len(line) > 1000 || !strings.HasSuffix(line, "\r\n") {
				t.Fatalf("line %q", line)
			}
		}
		got, err := mail.ReadMessage(strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(got.Body); string(b) != "body\r\n" {
			t.Errorf("body %q of %q", b, raw)
		}
		if n := len(got.Header); n > 9 {
			t.Errorf("%d fields in %q", n, raw)
		}
		if got.Header.Get("Bcc") != "" {
			t.Errorf("a Bcc in %q", raw)
		}
	})
}

func TestReadMessage(t *testing.T) {
	env := mailclient.Envelope{}
	crlf := "A: b\r\n\r\n.\r\n\r\nü \t\r\n"
	for in, want := range map[string]string{
		crlf:                               crlf,
		strings.ReplaceAll(crlf, "\r", ""): crlf,
		"A: b\n\r\nmixed\n":                "A: b\r\n\r\nmixed\r\n",
		"no end":                           "no end\r\n",
		"":                                 "",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in))} {
			m, err := mailclient.ReadMessage(r, env, 0)
			if err != nil {
				t.Errorf("%q: %v", in, err)
				continue
			}
			if got := content(t, m); got != want {
				t.Errorf("%s: %q became %q, want %q", name, in, got, want)
			}
			m.Close()
		}
	}
	for _, in := range []string{"a\rb\n", "a\r", "a\r\r\n", "a\x00\n", strings.Repeat("x", 2000)} {
		m, err := mailclient.ReadMessage(strings.NewReader(in), env, 1000)
		if !errors.Is(err, mailclient.ErrUnsendable) {
			t.Errorf("%.20q: %v", in, err)
		}
		if m != nil {
			m.Close()
		}
	}
	for in, want := range map[string][2]bool{
		"A: b\n\nascii\n": {false, false},
		"A: b\n\nü\n":     {true, false},
		"A: ü\n\nx\n":     {true, true},
		"A: \xfc\n\nx\n":  {true, false},
		"A: ü":            {true, true},
	} {
		m, err := mailclient.ReadMessage(strings.NewReader(in), env, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{m.EightBit(), m.UTF8()}; got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
		m.Close()
	}
}

// TestLargeMessage goes through a temporary file, and leaves none.
func TestLargeMessage(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(v, dir)
	}
	line := strings.Repeat("x", 70) + "\r\n"
	raw := strings.Repeat(line, 5<<20/len(line))
	m, err := mailclient.ReadMessage(strings.NewReader(raw), mailclient.Envelope{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, m); sha256.Sum256([]byte(got)) != sha256.Sum256([]byte(raw)) {
		t.Error("the message changed")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := mailclient.ReadMessage(strings.NewReader(raw+"\r"), mailclient.Envelope{}, 0); err == nil {
		t.Error("no error")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d files left, %v", len(left), err)
	}
}
