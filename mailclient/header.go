package mailclient

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
)

// Field is one header field.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ParseField reads "Name: value", as --header takes it.
func ParseField(s string) (Field, error) {
	name, value, ok := strings.Cut(s, ":")
	if !ok {
		return Field{}, fmt.Errorf("parse header field %q: want 'Name: value'", cut(s, 80))
	}
	f := Field{Name: name, Value: strings.Trim(value, " \t")}
	if err := f.check(); err != nil {
		return Field{}, err
	}
	return f, nil
}

func (f Field) check() error {
	const most = 76 // a longer name leaves no line to fold the value on
	if f.Name == "" || len(f.Name) > most {
		return fmt.Errorf("header field name %q: want 1 to %d characters", cut(f.Name, 80), most)
	}
	for i := 0; i < len(f.Name); i++ {
		if c := f.Name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return fmt.Errorf("header field name %q: want printable ASCII without blanks", f.Name)
		}
	}
	if err := checkText(f.Value); err != nil {
		return fmt.Errorf("header field %s: %w", f.Name, err)
	}
	switch strings.ToLower(f.Name) {
	case "bcc", "resent-bcc":
		return fmt.Errorf("header field %s: would tell everybody who is not to be told", f.Name)
	case "content-type", "content-transfer-encoding", "content-disposition", "mime-version":
		return fmt.Errorf("header field %s: is written by the composer", f.Name)
	}
	return nil
}

// value is the field's value, encoded for its name.
func (f Field) value() (string, error) {
	switch strings.ToLower(f.Name) {
	case "from", "to", "cc", "reply-to", "resent-from", "resent-to", "resent-cc", "sender", "resent-sender":
		list, err := mail.ParseAddressList(f.Value)
		if err != nil {
			return "", fmt.Errorf("header field %s: %w", f.Name, err)
		}
		out := make([]string, len(list))
		for i, a := range list {
			out[i] = a.String()
		}
		return strings.Join(out, ", "), nil
	case "message-id", "in-reply-to", "references", "date":
		if strings.ContainsFunc(f.Value, func(r rune) bool { return r > '~' || r < ' ' }) {
			return "", fmt.Errorf("header field %s: want ASCII", f.Name)
		}
		return strings.Join(strings.Fields(f.Value), " "), nil
	}
	if strings.Contains(f.Value, "=?") && isASCII(f.Value) && !longWord(strings.ReplaceAll(f.Value, "?=", "")) {
		return f.Value, nil // encoded words that the caller made
	}
	return encodeText(f.Value), nil
}

// fold writes the field in lines of 76 octets where its blanks allow it: the
// limit of RFC 2047 section 2 for lines with encoded words. No line is left
// blank, since such a one could be taken for the end of the header.
func (f Field) fold() []byte {
	const most = 76
	var out []byte
	line := f.Name + ":"
	for w := range strings.SplitSeq(f.Value, " ") {
		if w != "" && len(line)+1+len(w) > most && strings.TrimSpace(line) != "" {
			out = append(append(out, line...), "\r\n"...)
			line = ""
		}
		line += " " + w
	}
	return append(append(out, line...), "\r\n"...)
}

// single are the fields that may stand once (RFC 5322 section 3.6).
func single(name string) bool {
	switch strings.ToLower(name) {
	case "date", "from", "sender", "reply-to", "to", "cc", "message-id", "in-reply-to", "references", "subject":
		return true
	}
	return false
}

// fields is the header of a draft, in order, without the fields of MIME. A
// field that the caller gave stands in for ours.
func (d *Draft) fields() ([]Field, error) {
	date := d.Date
	if date.IsZero() {
		date = time.Now().UTC() // the zone of this machine is nobody's business
	}
	id := d.MessageID
	if id == "" {
		id = newMessageID(d.From.Address.Domain())
	}
	from := d.From.String()
	if d.From.Address.IsZero() {
		from = "MAILER-DAEMON@localhost" // a header needs a From where an envelope may have none
	}
	if err := checkText(d.Subject); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	own := []Field{
		{"Date", date.Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", from},
		{"To", list(d.To)},
		{"Cc", list(d.Cc)},
		{"Subject", encodeText(d.Subject)},
		{"Message-ID", "<" + id + ">"},
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	given := map[string]bool{}
	var extra []Field
	for _, f := range d.Header {
		if err := f.check(); err != nil {
			return nil, err
		}
		key := strings.ToLower(f.Name)
		if given[key] && single(f.Name) {
			return nil, fmt.Errorf("header field %s: may stand once", f.Name)
		}
		given[key] = true
		v, err := f.value()
		if err != nil {
			return nil, err
		}
		extra = append(extra, Field{f.Name, v})
	}
	var out []Field
	for _, f := range own {
		if f.Value != "" && !given[strings.ToLower(f.Name)] {
			out = append(out, f)
		}
	}
	return append(out, extra...), nil
}

func list(m []Mailbox) string {
	s := make([]string, len(m))
	for i := range m {
		s[i] = m[i].String()
	}
	return strings.Join(s, ", ")
}

func newMessageID(domain string) string {
	if domain == "" || !isASCII(domain) {
		domain = "localhost"
	}
	return strings.ToLower(rand.Text()) + "@" + domain
}

func checkID(id string) error {
	left, right, ok := strings.Cut(id, "@")
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>@", r) }
	if !ok || left == "" || right == "" || len(id) > 250 || strings.ContainsFunc(left+right, bad) {
		return errors.New("message id: want left@right in ASCII, without angle brackets")
	}
	return nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
