package mailclient

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message"

	"postern.example/mailclient/address"
)

// Draft is a message to compose. Text, or HTML, or both as alternatives; with
// neither and without attachments the message is empty.
type Draft struct {
	From Mailbox // the zero Mailbox sends with the null reverse-path
	To   []Mailbox
	Cc   []Mailbox
	Bcc  []Mailbox // in the envelope only
	// Subject, Text and HTML are UTF-8. Line ends of any kind become CRLF.
	Subject     string
	Text        string
	HTML        string
	Attachments []Attachment
	// Header adds fields, or replaces From, To, Cc, Subject, Date, Message-ID.
	Header    []Field
	Date      time.Time // zero: now, in UTC
	MessageID string    // without angle brackets; "": random, at the domain of From
	MaxSize   int64     // octets of the message; 0: DefaultMaxSize
}

// Attachment is a file to go along. It is read once, as a stream.
type Attachment struct {
	Name string // a file name; folders in front of it are dropped
	Type string // media type; "" is guessed from the name
	Open func() (io.ReadCloser, error)
}

// AttachFile is the attachment made of a file.
func AttachFile(path string) Attachment {
	return Attachment{Name: filepath.Base(path), Open: func() (io.ReadCloser, error) { return os.Open(path) }}
}

// Compose builds the message. Text goes as it is where it is short ASCII lines,
// as quoted-printable otherwise; attachments as base64: no server needs an
// extension for it, but for SMTPUTF8 where an address is outside ASCII. The
// caller closes the Message.
func Compose(d Draft) (*Message, error) {
	env, err := d.envelope()
	if err != nil {
		return nil, fmt.Errorf("compose message: %w", err)
	}
	fields, err := d.fields()
	if err != nil {
		return nil, fmt.Errorf("compose message: %w", err)
	}
	for _, t := range []struct{ name, text string }{{"text", d.Text}, {"HTML", d.HTML}} {
		if !utf8.ValidString(t.text) || strings.ContainsRune(t.text, 0) {
			return nil, fmt.Errorf("compose message: %w: the %s is not UTF-8 text", ErrUnsendable, t.name)
		}
	}
	s := newSpool(d.MaxSize)
	defer s.drop()
	if err := d.write(s, fields); err != nil {
		return nil, fmt.Errorf("compose message: %w", err)
	}
	return s.message(env)
}

func (d *Draft) envelope() (Envelope, error) {
	env := Envelope{From: d.From.Address}
	seen := map[address.Address]bool{}
	for _, l := range [][]Mailbox{d.To, d.Cc, d.Bcc} {
		for _, m := range l {
			if m.Address.IsZero() {
				return Envelope{}, errors.New("a recipient is empty")
			}
			if !seen[m.Address] {
				seen[m.Address] = true
				env.To = append(env.To, m.Address)
			}
		}
	}
	if len(env.To) == 0 {
		return Envelope{}, errors.New("no recipients")
	}
	return env, nil
}

// part is a node of the MIME tree.
type part struct {
	fields []Field
	kids   []part
	body   func(io.Writer) error // of a leaf
}

func (d *Draft) write(w io.Writer, fields []Field) error {
	root := d.tree()
	fields = append(fields, Field{"MIME-Version", "1.0"})
	root.fields = append(fields, root.fields...)
	mw, err := message.CreateWriter(w, root.header())
	if err != nil {
		return err
	}
	return root.fill(mw)
}

func (d *Draft) tree() part {
	var texts []part
	if d.Text != "" || d.HTML == "" && len(d.Attachments) == 0 {
		texts = append(texts, textPart("text/plain", d.Text))
	}
	if d.HTML != "" {
		texts = append(texts, textPart("text/html", d.HTML))
	}
	if len(texts) > 1 {
		texts = []part{multipart("alternative", texts)}
	}
	if len(d.Attachments) == 0 {
		return texts[0]
	}
	for _, a := range d.Attachments {
		texts = append(texts, a.part())
	}
	return multipart("mixed", texts)
}

func multipart(kind string, kids []part) part {
	// "=_" cannot occur in quoted-printable or base64 (RFC 2045 section 6.7).
	boundary := "=_" + strings.ToLower(rand.Text())
	t := mime.FormatMediaType("multipart/"+kind, map[string]string{"boundary": boundary})
	return part{fields: []Field{{"Content-Type", t}}, kids: kids}
}

func textPart(kind, text string) part {
	text = crlf(text)
	encoding := "quoted-printable"
	if plainLines(text) {
		encoding = "7bit"
	}
	return part{
		fields: []Field{
			{"Content-Type", kind + "; charset=utf-8"},
			{"Content-Transfer-Encoding", encoding},
		},
		body: func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		},
	}
}

// crlf makes every line end CRLF, the last one too.
func crlf(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// plainLines reports text that every relay leaves alone: ASCII, lines within 78
// octets, nothing at their ends that could be trimmed, no mbox "From ".
func plainLines(s string) bool {
	const most = 78 // RFC 5322 section 2.1.1
	for l := range strings.SplitSeq(s, "\r\n") {
		if len(l) > most || strings.HasSuffix(l, " ") || strings.HasPrefix(l, "From ") {
			return false
		}
		for i := 0; i < len(l); i++ {
			if l[i] < ' ' || l[i] > '~' {
				return false
			}
		}
	}
	return true
}

func (a Attachment) part() part {
	name := safeName(a.Name)
	kind := a.Type
	if kind == "" {
		kind = mime.TypeByExtension(filepath.Ext(name))
	}
	// The charset of a file is not known, and the parts of message/ and
	// multipart/ may not be base64 (RFC 2045 section 6.4).
	kind, _, err := mime.ParseMediaType(kind)
	if err != nil || strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/") {
		kind = "application/octet-stream"
	}
	return part{
		fields: []Field{
			{"Content-Type", kind},
			{"Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name})},
			{"Content-Transfer-Encoding", "base64"},
		},
		body: func(w io.Writer) error {
			r, err := a.Open()
			if err != nil {
				return fmt.Errorf("attach %s: %w", name, err)
			}
			defer r.Close()
			if _, err := io.Copy(w, r); err != nil {
				return fmt.Errorf("attach %s: %w", name, err)
			}
			return nil
		},
	}
}

// safeName is a file name that says no folder and plays no tricks.
func safeName(s string) string {
	s = strings.ToValidUTF8(s, "_")
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, s)
	const most = 150
	for len(s) > most { // keeps the ending, which says what it is
		_, n := utf8.DecodeRuneInString(s)
		s = s[n:]
	}
	if strings.Trim(s, ". ") == "" {
		return "attachment"
	}
	return s
}

func (p part) header() message.Header {
	var h message.Header
	for i := len(p.fields) - 1; i >= 0; i-- { // AddRaw puts a field on top
		h.AddRaw(p.fields[i].fold())
	}
	return h
}

func (p part) fill(w *message.Writer) error {
	for _, k := range p.kids {
		kw, err := w.CreatePart(k.header())
		if err != nil {
			return err
		}
		if err := k.fill(kw); err != nil {
			return err
		}
	}
	if p.body != nil {
		if err := p.body(w); err != nil {
			return err
		}
	}
	return w.Close()
}
