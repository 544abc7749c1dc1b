package mailclient_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern.example/mailclient"
	"postern.example/mailclient/wire"
	"postern.example/mailclient/wire/wiretest"
)

func web(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestContrast(t *testing.T) {
	p := newPeer(t, nil)
	m := compose(t, mailclient.Draft{To: boxes(t, "a@x", `"b c"@y`), Text: strings.Repeat("line\n", 100)})
	raw := content(t, m)
	var posts []string
	url := web(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		posts = append(posts, fmt.Sprintf("%s %s %s %v %d", r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.URL.Query(), r.ContentLength))
		if string(b) != raw {
			t.Errorf("the body is not the message: %q", b)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"abc_1"}`)
	})
	c, err := mailclient.Contrast(t.Context(), mailclient.ContrastOptions{SMTP: mailclient.Options{Server: p.url}, HTTP: url, Runs: 3}, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(posts) != 3 || posts[0] != fmt.Sprintf(`POST /api/v1/messages message/rfc822 map[from:[ada@x] to:[a@x "b c"@y]] %d`, len(raw)) {
		t.Errorf("%q", posts)
	}
	if got := p.all(); len(got) != 3 || got[2].body != raw {
		t.Errorf("%d by SMTP", len(got))
	}
	if c.Size != int64(len(raw)) || c.Recipients != 2 || c.Runs != 3 || c.HTTP.ID != "abc_1" {
		t.Errorf("%+v", c)
	}
	for name, w := range map[string]mailclient.Way{"SMTP": c.SMTP, "HTTP": c.HTTP} {
		if w.Sent <= c.Size || w.Received < 50 || w.Received > 1000 || w.Writes < 1 ||
			w.Connect <= 0 || w.FirstByte < w.Connect || w.Accepted < w.FirstByte || w.Total < w.Accepted {
			t.Errorf("%s: %+v", name, w)
		}
	}
	// Greeting, EHLO, the group, the dot, QUIT; and one answer.
	if c.SMTP.Waits != 5 || c.HTTP.Waits != 1 || c.SMTP.Writes != 4 {
		t.Errorf("%+v, %+v", c.SMTP, c.HTTP)
	}
	// The trace counts the same bytes as the connection does.
	res, err := mailclient.Send(t.Context(), mailclient.Options{Server: p.url}, m)
	if err != nil {
		t.Fatal(err)
	}
	if s := res.Trace.Sum(); s.Sent != c.SMTP.Sent || s.Received != c.SMTP.Received || int64(s.Waits) != c.SMTP.Waits {
		t.Errorf("trace %+v, connection %+v", s, c.SMTP)
	}
	var out strings.Builder
	if err := mailclient.WriteContrast(&out, c, mailclient.ContrastTableOptions{Width: 100}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"medians of 3 runs", "bytes sent", "bytes received", "round trips", "first byte after", "accepted after",
		"who speaks first", "state", "addressing", "many recipients", "success means", "who retries", "answer lost",
		"resume", "codes", "encryption", "hops", "push and pull", "framing",
	} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no %q in\n%s", row, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(line)); n > 101 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestContrastFails(t *testing.T) {
	p := newPeer(t, nil)
	m := compose(t, mailclient.Draft{Text: "x"})
	say := func(code int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want mailclient.Outcome
		text string
	}{
		"refused":    {say(413, "application/problem+json", `{"title":"Too large","status":413,"detail":"at most\u001b[31m 1 MiB"}`), mailclient.MessageRefused, `413 Too large: at most\x1b[31m 1 MiB`},
		"busy":       {say(503, "text/plain", "x"), mailclient.TryAgain, "503 Service Unavailable"},
		"full":       {say(507, "application/problem+json", `{"title":`), mailclient.TryAgain, "507"},
		"stranger":   {say(403, "text/plain", "x"), mailclient.Denied, "403"},
		"elsewhere":  {say(302, "text/plain", "x"), mailclient.ProtocolBroken, "302"},
		"no id":      {say(201, "application/json", `{}`), mailclient.ProtocolBroken, "no id"},
		"odd id":     {say(201, "application/json", `{"id":"a b"}`), mailclient.ProtocolBroken, "no id"},
		"not JSON":   {say(201, "text/html", `<p>`), mailclient.ProtocolBroken, "no id"},
		"endless":    {say(200, "application/json", strings.Repeat(" ", 70<<10)), mailclient.ProtocolBroken, "more than"},
		"broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, mailclient.HostGone, "EOF"},
		"too slow":   {func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }, mailclient.TryAgain, "time"},
		"not HTTP": {func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the client's write may fail first
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "220 mail\r\n")
			c.Close()
		}, mailclient.ProtocolBroken, `what answers is no HTTP server: it says "220 mail"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := mailclient.ContrastOptions{SMTP: mailclient.Options{Server: p.url, Timeout: 20 * time.Second}, HTTP: web(t, c.h)}
			if name == "too slow" {
				o.SMTP.Timeout = 500 * time.Millisecond
			}
			_, err := mailclient.Contrast(t.Context(), o, m)
			f := (*mailclient.Failure)(nil)
			if !errors.As(err, &f) || f.Outcome != c.want || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v (%+v)", err, f)
			}
			if err != nil && err.Error() != wire.Printable(err.Error()) {
				t.Errorf("%q is not safe to show", err)
			}
		})
	}
	_, err := mailclient.Contrast(t.Context(), mailclient.ContrastOptions{SMTP: mailclient.Options{Server: p.url}, HTTP: "ftp://x"}, m)
	if f := (*mailclient.Failure)(nil); !errors.As(err, &f) || f.Outcome != mailclient.Misused {
		t.Error(err)
	}
}

// TestReadElsewhere: what is no HTTP server is called that, whether it speaks
// before it is asked, as mail does, or after.
func TestReadElsewhere(t *testing.T) {
	log.SetOutput(t.Output()) // where net/http would tell of it
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	for name, c := range map[string]struct{ script, says string }{
		"SMTP":           {`S| 220 vm ESMTP\r\n` + "\nWAIT", `"220 vm ESMTP"`},
		"many lines":     {"S: 220-vm\nS: 220 ready\nWAIT", `"220-vm"`},
		"asked first":    {"C: GET*\nS: 500 5.5.2 what?\nWAIT", `"500 5.5.2 what?"`},
		"byte by byte":   {"S| H\nS| T\nS| X\nWAIT", `"HTX"`},
		"cut short":      {"C: GET*\nS| HT", `"HT"`},
		"no line":        {"S| +OK\nWAIT", `"+OK"`},
		"control bytes":  {`S| 220 \x1b[2J\n` + "\nWAIT", `"220 \x1b[2J"`},
		"another HTTP":   {"C: GET*\nS: HTTP/x y\nWAIT", `malformed HTTP status code "y"`},
		"without a code": {"C: GET*\nS: HTTP/1.1 vm\nWAIT", `malformed HTTP status code "vm"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := wiretest.Serve(t, c.script)
			_, err := mailclient.Read(t.Context(), mailclient.ReadOptions{HTTP: "http://" + s.Addr, Timeout: 20 * time.Second})
			f := (*mailclient.Failure)(nil)
			if !errors.As(err, &f) || f.Outcome != mailclient.ProtocolBroken || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "net/http") {
				t.Errorf("%v (%+v)", err, f)
			}
			if name != "another HTTP" && name != "without a code" && !strings.Contains(err.Error(), "what answers is no HTTP server: it says") {
				t.Error(err)
			}
			if err != nil && err.Error() != wire.Printable(err.Error()) {
				t.Errorf("%q is not safe to show", err)
			}
		})
	}
	// The same while a message is being written, which the answer cuts off.
	p := newPeer(t, nil)
	s := wiretest.Serve(t, `S| 220 vm ESMTP\r\n`+"\nWAIT")
	m := compose(t, mailclient.Draft{Text: strings.Repeat("line\n", 1<<14)})
	_, err := mailclient.Contrast(t.Context(), mailclient.ContrastOptions{SMTP: mailclient.Options{Server: p.url}, HTTP: "http://" + s.Addr}, m)
	if f := (*mailclient.Failure)(nil); !errors.As(err, &f) || f.Outcome != mailclient.ProtocolBroken || !strings.Contains(err.Error(), `it says "220 vm ESMTP"`) {
		t.Error(err)
	}
}

func TestParseHTTP(t *testing.T) {
	for _, in := range []string{"http://127.0.0.1:8025", "https://mail.example/", "http://[::1]:80"} {
		if _, err := mailclient.ParseHTTP(in); err != nil {
			t.Error(err)
		}
	}
	for _, in := range []string{"", "127.0.0.1:8025", "http://", "http://u@x", "http://x/y", "http://x?y", "http://x#y", "http://x:0", "http://a\r\nb", "http:x", "http://ü"} {
		if u, err := mailclient.ParseHTTP(in); err == nil {
			t.Errorf("ParseHTTP(%q) = %v", in, u)
		}
	}
	for _, in := range []string{"127.0.0.1:8025", "localhost:8025", "mail.example", ":8025", ""} {
		if _, err := mailclient.ParseHTTP(in); err == nil || !strings.HasSuffix(err.Error(), ": want http://host:port or https://host:port") {
			t.Errorf("ParseHTTP(%q): %v", in, err)
		}
	}
}

// inbox serves messages as smtpd's API does, newest first, two on a page.
func inbox(t testing.TB, mails map[string]string, rcpt map[string][]string, order ...string) string {
	return web(t, func(w http.ResponseWriter, r *http.Request) {
		if id, ok := strings.CutPrefix(r.URL.Path, "/api/v1/messages/"); ok {
			raw, ok := mails[strings.TrimSuffix(id, "/raw")]
			if !ok {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(404)
				io.WriteString(w, `{"title":"No such message","status":404}`)
				return
			}
			w.Header().Set("Content-Type", "message/rfc822")
			io.WriteString(w, raw)
			return
		}
		type summary struct {
			ID     string   `json:"id"`
			RcptTo []string `json:"rcpt_to"`
		}
		out := struct {
			Messages []summary `json:"messages"`
			Next     string    `json:"next"`
		}{Messages: []summary{}}
		start := 0
		fmt.Sscanf(r.URL.Query().Get("cursor"), "c%d", &start)
		for i := start; i < len(order) && i < start+2; i++ {
			out.Messages = append(out.Messages, summary{order[i], rcpt[order[i]]})
		}
		if start+2 < len(order) {
			out.Next = fmt.Sprintf("c%d", start+2)
		}
		json.NewEncoder(w).Encode(out)
	})
}

func TestRead(t *testing.T) {
	mails := map[string]string{"m1": "Subject: one\r\n\r\n1\r\n", "m2": "Subject: two\r\n\r\n2\r\n", "m3": "Subject: three\r\n\r\n3\r\n"}
	url := inbox(t, mails, map[string][]string{"m1": {"ada@X.example"}, "m2": {"b@y", `"c d"@y`}, "m3": {"b@y"}}, "m3", "m2", "m1")
	for name, c := range map[string]struct {
		o    mailclient.ReadOptions
		want string
		fail mailclient.Outcome
	}{
		"newest":     {mailclient.ReadOptions{}, "m3", ""},
		"by word":    {mailclient.ReadOptions{ID: "newest"}, "m3", ""},
		"by id":      {mailclient.ReadOptions{ID: "m2"}, "m2", ""},
		"by address": {mailclient.ReadOptions{To: box(t, "ada@x.example").Address}, "m1", ""},
		"quoted":     {mailclient.ReadOptions{To: box(t, `"c d"@y`).Address}, "m2", ""},
		"not yet":    {mailclient.ReadOptions{To: box(t, "z@z").Address}, "", mailclient.TryAgain},
		"unknown":    {mailclient.ReadOptions{ID: "m9"}, "", mailclient.MessageRefused},
		"odd id":     {mailclient.ReadOptions{ID: "../x"}, "", mailclient.Misused},
	} {
		c.o.HTTP = url
		r, err := mailclient.Read(t.Context(), c.o)
		if c.fail != "" {
			if f := (*mailclient.Failure)(nil); !errors.As(err, &f) || f.Outcome != c.fail {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || r.ID != c.want || string(r.Raw) != mails[c.want] {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, body := range map[string]string{
		"not JSON": "<p>", "odd id": `{"messages":[{"id":"../../x"}]}`,
	} {
		_, err := mailclient.Read(t.Context(), mailclient.ReadOptions{HTTP: web(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })})
		if f := (*mailclient.Failure)(nil); !errors.As(err, &f) || f.Outcome != mailclient.ProtocolBroken {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := mailclient.Read(t.Context(), mailclient.ReadOptions{HTTP: inbox(t, nil, nil)})
	if f := (*mailclient.Failure)(nil); !errors.As(err, &f) || f.Outcome != mailclient.TryAgain {
		t.Errorf("empty: %v", err)
	}
}

// TestReadBack: what Compose made is read as it was meant.
func TestReadBack(t *testing.T) {
	m := compose(t, mailclient.Draft{
		From: box(t, "Åda <ada@x>"), Subject: "Grüße", Text: "Hällo\n\tWelt\n", HTML: "<b>x</b>",
		Attachments: []mailclient.Attachment{{Name: "ä.txt", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abc")), nil }}},
		Date:        time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), MessageID: "1@x",
	})
	r := &mailclient.Received{ID: "m1", Raw: []byte("Received: from y\r\n" + content(t, m))}
	var out strings.Builder
	if err := mailclient.WriteReceived(&out, r); err != nil {
		t.Fatal(err)
	}
	want := `From: Åda <ada@x>
To: b@y
Subject: Grüße
Date: Fri, 02 Jan 2026 03:04:05 +0000
Message-ID: <1@x>

Hällo
	Welt

[attachment ä.txt, text/plain, 3 bytes]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"attachments":[{"name":"ä.txt","type":"text/plain","size":3}]`) || !strings.Contains(string(b), `"id":"m1"`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestReadWithoutHeader: text that came without a header, or without the blank
// line after it, is shown as text, and smtpd's own field is not.
func TestReadWithoutHeader(t *testing.T) {
	const trace = "Received: from c ([127.0.0.1])\r\n\tby s with ESMTP id 7;\r\n\tFri, 02 Jan 2026 03:04:05 +0000\r\n"
	const none, line = "\n[the message is not well formed: it has no header]\n", "\n[the message is not well formed: a line of its header is no field, the text is shown from there]\n"
	for name, c := range map[string]struct{ raw, want string }{
		"text":             {trace + "just text\r\nand more\r\n", "\njust text\nand more\n" + none},
		"one line":         {trace + "just text", "\njust text\n" + none},
		"untouched":        {"just text\r\n", "\njust text\n" + none},
		"escapes":          {trace + "\x1b[2J\r\n", "\n\\x1b[2J\n" + none},
		"8 bits":           {trace + "Grüße\r\n", "\nGrüße\n" + none},
		"paragraphs":       {trace + "one\r\n\r\ntwo: 2\r\n", "\none\n\ntwo: 2\n" + none},
		"later colon":      {trace + "see this: x\r\n", "\nsee this: x\n" + none},
		"no blank line":    {trace + "Subject: x\r\nFrom: a@x\r\njust text\r\n", "From: a@x\nSubject: x\n\njust text\n" + line},
		"encoded":          {trace + "Content-Transfer-Encoding: base64\r\n+YWJj\r\n", ""},
		"empty header":     {trace + "\r\njust text\r\n", "\njust text\n"},
		"header only":      {trace + "Subject: x\r\n", "Subject: x\n\n"},
		"nothing":          {trace, "\n"},
		"mbox":             {trace + "From a@x Fri Jan  2 03:04:05 2026\r\nSubject: x\r\n\r\ny\r\n", "\nFrom a@x Fri Jan  2 03:04:05 2026\nSubject: x\n\ny\n" + none},
		"blank after name": {trace + "Subject : x\r\n\r\ny\r\n", "Subject: x\n\ny\n"},
	} {
		var out strings.Builder
		if err := mailclient.WriteReceived(&out, &mailclient.Received{Raw: []byte(c.raw)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(out.String(), "Received") || strings.Contains(out.String(), "by s with") {
			t.Errorf("%s: smtpd's own field in %q", name, out.String())
		}
		if c.want != "" && out.String() != c.want {
			t.Errorf("%s: %q, want %q", name, out.String(), c.want)
		}
	}
	b, err := json.Marshal(&mailclient.Received{Raw: []byte(trace + "just text\r\n")})
	if err != nil || !strings.Contains(string(b), `"text":"just text\r\n"`) || !strings.Contains(string(b), `"broken":"it has no header"`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestReadHostile: no mail moves the cursor of who reads it, or costs more than
// it weighs.
func TestReadHostile(t *testing.T) {
	nest := "Content-Type: multipart/mixed; boundary=a\r\n\r\n"
	for i := range 300 {
		nest += fmt.Sprintf("--%[1]s\r\nContent-Type: multipart/mixed; boundary=%[1]sa\r\n\r\n", strings.Repeat("a", i+1))
	}
	many := "Content-Type: multipart/mixed; boundary=a\r\n\r\n" + strings.Repeat("--a\r\n\r\nx\r\n", 5000)
	for name, raw := range map[string]string{
		"escapes":     "Subject: =?utf-8?q?=1B[2Jx=E2=80=AE?=\r\nFrom: \x1b]0;x\x07\r\n\r\n\x1b[31mred\r\n\u009b1m \u202e \xff\r\n",
		"html":        "Content-Type: text/html\r\n\r\n<style>x{}</style><p>a&#27;[31m b<br>c<script>alert(1)</script>",
		"nested":      nest,
		"many":        many,
		"charset":     "Content-Type: text/plain; charset=nonsense\r\n\r\nx\x1b\r\n",
		"encoding":    "Content-Transfer-Encoding: nonsense\r\n\r\nx\x1b\r\n",
		"base64":      "Content-Transfer-Encoding: base64\r\n\r\n!!!\x1b\r\n",
		"no header":   "\x1b[2J\r\n",
		"empty":       "",
		"name":        "Content-Type: application/x; name=\"../\x1b[31m\u202egpj.exe\"\r\n\r\nx",
		"endless":     strings.Repeat("A", 2<<20),
		"large":       "\r\n" + strings.Repeat("line\r\n", 1<<20),
		"charset set": "Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\x9b31m\xe4\r\n",
	} {
		var out strings.Builder
		if err := mailclient.WriteReceived(&out, &mailclient.Received{Raw: []byte(raw)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "")
			if line != wire.Printable(line) {
				t.Errorf("%s: %.100q", name, line)
			}
		}
		if out.Len() > 6<<20 {
			t.Errorf("%s: %d bytes of output", name, out.Len())
		}
		if _, err := json.Marshal(&mailclient.Received{Raw: []byte(raw)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "html" && out.String() != "\na\\x1b[31m b\nc\n" {
			t.Errorf("%q", out.String())
		}
		if name == "charset set" && !strings.Contains(out.String(), "ä") {
			t.Errorf("%q", out.String())
		}
	}
}

// TestReadBoundsParts reads a mail whose part has a header without end.
func TestReadBoundsParts(t *testing.T) {
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + strings.Repeat("a:\r\n", 500_000) + "\r\ntext\r\n--b--\r\n"
	var out strings.Builder
	if err := mailclient.WriteReceived(&out, &mailclient.Received{ID: "x", Raw: []byte(raw)}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "too large") || len(out.String()) > 1000 {
		t.Errorf("%.500s", out.String())
	}
}
