package message_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/smtpd/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestRead(t *testing.T) {
	tests := []struct {
		name  string
		mail  string
		want  message.Summary
		parts []message.Part
	}{{
		name: "plain",
		mail: "From: Ann <a@x.example>\nTo: b@y.example, =?utf-8?q?J=C3=BCrgen?= <j@y.example>\nSubject: hi\n\nbody\n",
		want: message.Summary{From: "Ann <a@x.example>", To: []string{"b@y.example", "Jürgen <j@y.example>"}, Subject: "hi"},
		parts: []message.Part{
			{N: 1, ContentType: "text/plain", Size: 6},
		},
	}, {
		name: "header only",
		mail: "From: a@x.example\nSubject: nothing below\n",
		want: message.Summary{From: "a@x.example", To: []string{}, Subject: "nothing below"},
		parts: []message.Part{
			{N: 1, ContentType: "text/plain"},
		},
	}, {
		name: "attachment",
		mail: "From: a@x.example\nSubject: =?iso-8859-1?q?gr=FC=DFe?=\nContent-Type: multipart/mixed; boundary=b\n\n" +
			"--b\n\ntext\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=\"../r.pdf\"\n" +
			"Content-Transfer-Encoding: base64\n\naGVsbG8=\n--b--\n",
		want: message.Summary{From: "a@x.example", To: []string{}, Subject: "grüße", HasAttachments: true},
		parts: []message.Part{
			{N: 1, Depth: 1, ContentType: "text/plain", Size: 4},
			{N: 2, Depth: 1, ContentType: "application/pdf", Disposition: "attachment", Filename: "../r.pdf", Size: 5},
		},
	}, {
		name: "no header",
		mail: "this is not a header\n\nbody\n",
		want: message.Summary{To: []string{}, Unparsed: true, Fault: "malformed MIME header line: this is not a header"},
	}, {
		name:  "multipart cut off",
		mail:  "From: a@x.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n",
		want:  message.Summary{From: "a@x.example", To: []string{}, Unparsed: true, Fault: "part 1: unexpected EOF"},
		parts: []message.Part{{N: 1, Depth: 1, ContentType: "text/plain", Size: 4}},
	}, {
		name: "multipart without a boundary",
		mail: "From: a@x.example\nContent-Type: multipart/mixed\n\n--b\n\ntext\n",
		want: message.Summary{From: "a@x.example", To: []string{}, Unparsed: true, Fault: "multipart without a boundary"},
	}, {
		name:  "bad base64",
		mail:  "From: a@x.example\nContent-Transfer-Encoding: base64\n\n!!!!\n",
		want:  message.Summary{From: "a@x.example", To: []string{}, Unparsed: true, Fault: "part 1: illegal base64 data at input byte 0"},
		parts: []message.Part{{N: 1, ContentType: "text/plain"}},
	}, {
		name:  "texts that would forge",
		mail:  "From: \"\x1b[2J\u202eevil\" <a@x.example>\nSubject: =?utf-8?q?one=0D=0Atwo=1B?=\n\n\n",
		want:  message.Summary{From: `"` + "\uFFFD[2J\uFFFD" + `evil" <a@x.example>`, To: []string{}, Subject: "one  two\uFFFD"},
		parts: []message.Part{{N: 1, ContentType: "text/plain", Size: 2}},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, parts, err := message.Read(strings.NewReader(crlf(tt.mail)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error("summary (-want +got):\n" + d)
			}
			if d := cmp.Diff(tt.parts, parts); d != "" {
				t.Error("parts (-want +got):\n" + d)
			}
		})
	}
}

func TestReadIsBounded(t *testing.T) {
	var deep strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100_000) + "--b--\r\n"
	tests := []struct{ name, mail, fault string }{
		{"depth", deep.String(), "nested deeper than 100"},
		{"parts", many, "more than 1000 parts"},
		{"fields of a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + strings.Repeat("a:\r\n", 1_000_000) + "\r\n--b--\r\n", "too large"},
		{"header of a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\na: " + strings.Repeat("x", 20<<20) + "\r\n\r\n--b--\r\n", "too large"},
		{"header", "Subject: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", "header is longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sum, parts, err := message.Read(strings.NewReader(tt.mail))
			if err != nil {
				t.Fatal(err)
			}
			if !sum.Unparsed || !strings.Contains(sum.Fault, tt.fault) {
				t.Errorf("fault is %q, want it to contain %q", sum.Fault, tt.fault)
			}
			if len(parts) > message.MaxParts {
				t.Errorf("%d parts listed", len(parts))
			}
			if len(sum.Subject) > 998 {
				t.Errorf("subject of %d bytes kept", len(sum.Subject))
			}
		})
	}
}

func TestReadReportsItsReader(t *testing.T) {
	want := errors.New("disk gone")
	if _, _, err := message.Read(iotest.ErrReader(want)); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	cut := &failAfter{r: strings.NewReader("Subject: x\r\n\r\n" + strings.Repeat("line\r\n", 5000)), n: 20_000, err: want}
	if _, _, err := message.Read(cut); !errors.Is(err, want) {
		t.Errorf("failure inside the body: got %v, want %v", err, want)
	}
}

type failAfter struct {
	r   *strings.Reader
	n   int
	err error
}

func (f *failAfter) Read(p []byte) (int, error) {
	if f.n <= 0 {
		return 0, f.err
	}
	n, err := f.r.Read(p[:min(len(p), f.n)])
	f.n -= n
	return n, err
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(crlf("From: a@x.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--\n")))
	f.Add([]byte("Subject: =?x?q?=00?=\r\n\r\n"))
	f.Add([]byte(": \r\n"))
	f.Fuzz(func(t *testing.T, mail []byte) {
		start := time.Now()
		sum, parts, err := message.Read(bytes.NewReader(mail))
		if err != nil {
			t.Fatalf("a reader that cannot fail failed: %v", err)
		}
		if len(parts) > message.MaxParts {
			t.Fatalf("%d parts", len(parts))
		}
		for _, s := range append([]string{sum.From, sum.Subject, sum.Fault}, sum.To...) {
			if strings.ContainsAny(s, "\r\n\x00\x1b") {
				t.Fatalf("%q holds control characters", s)
			}
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Fatalf("%d bytes took %v", len(mail), d)
		}
	})
}
