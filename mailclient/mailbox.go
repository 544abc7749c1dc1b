package mailclient

import (
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"strings"
	"unicode/utf8"

	"postern.example/mailclient/address"
)

// Mailbox is an address with the name of who reads it.
type Mailbox struct {
	Name    string // may be empty
	Address address.Address
}

// ParseMailbox reads "user@host", "<user@host>", "Name <user@host>" or
// `"Name, with signs" <user@host>`. "<>" gives the zero Mailbox.
func ParseMailbox(s string) (Mailbox, error) {
	s = strings.TrimSpace(s)
	a, err := address.Parse(s)
	if err == nil {
		return Mailbox{Address: a}, nil
	}
	if !strings.HasSuffix(s, ">") {
		return Mailbox{}, err
	}
	// A quoted name may hold "<" as well: the first one from which all of the
	// rest is a path is the right one, since a path holds "<" only in quotes.
	const tries = 64
	for i, n := 0, 0; i < len(s) && n < tries; i++ {
		if s[i] != '<' {
			continue
		}
		n++
		a, rest, perr := address.ParsePath(s[i:])
		if perr != nil || rest != "" {
			err = perr
			continue
		}
		name, nerr := parseName(strings.TrimSpace(s[:i]))
		if nerr != nil {
			err = nerr
			continue
		}
		return Mailbox{Name: name, Address: a}, nil
	}
	if err == nil {
		err = fmt.Errorf("parse mailbox %q: no address in angle brackets", cut(s, 80))
	}
	return Mailbox{}, err
}

func parseName(s string) (string, error) {
	if in, ok := strings.CutPrefix(s, `"`); ok {
		var b strings.Builder
		for i := 0; i < len(in); i++ {
			switch {
			case in[i] == '\\' && i+1 < len(in):
				i++
				b.WriteByte(in[i])
			case in[i] == '"' && i == len(in)-1:
				return b.String(), checkText(b.String())
			case in[i] == '"':
				return "", errors.New("parse mailbox: text after the quoted name")
			default:
				b.WriteByte(in[i])
			}
		}
		return "", errors.New("parse mailbox: the quoted name has no end")
	}
	if strings.ContainsAny(s, `<>"`) {
		return "", errors.New("parse mailbox: a name with < > or a quote must stand in quotes")
	}
	return s, checkText(s)
}

// String is the mailbox as a header field holds it (RFC 5322 section 3.4), with
// a name outside ASCII as encoded words (RFC 2047).
func (m Mailbox) String() string {
	if m.Address.IsZero() {
		return "<>"
	}
	if m.Name == "" {
		return m.Address.String()
	}
	return encodeName(m.Name) + " <" + m.Address.String() + ">"
}

func encodeName(name string) string {
	if strings.Contains(name, "=?") || strings.Contains(name, "  ") || longWord(name) {
		return encodedWords(name)
	}
	// net/mail chooses atoms, quotes or encoded words; the address is ours.
	s := (&mail.Address{Name: name, Address: "a@b"}).String()
	return strings.TrimSuffix(s, " <a@b>")
}

// checkText refuses what must not stand in a header field: nothing that ends a
// line, no other control.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q is not UTF-8", cut(s, 80))
	}
	for _, r := range s {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%q holds a control character", cut(s, 80))
		}
	}
	return nil
}

// encodeText is unstructured text for a header field. Whatever folding or a
// reader's decoder could change goes as encoded words.
func encodeText(s string) string {
	if strings.Contains(s, "=?") || strings.Contains(s, "  ") || strings.Contains(s, "\t") ||
		s != strings.TrimSpace(s) || longWord(s) {
		return encodedWords(s)
	}
	return mime.QEncoding.Encode("utf-8", s)
}

// longWord reports text that folding could not break without changing it.
func longWord(s string) bool {
	const most = 60
	for w := range strings.FieldsSeq(s) {
		if len(w) > most {
			return true
		}
	}
	return false
}

// encodedWords encodes all of s, as mime.BEncoding does only where s has a
// character outside ASCII. A word has 75 octets at most (RFC 2047 section 2)
// and ends between characters.
func encodedWords(s string) string {
	const most = 45 // octets that base64 turns into 60
	var words []string
	for len(s) > 0 {
		n := min(most, len(s))
		for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		if n == 0 { // no character begins in all of it: it is not UTF-8
			n = min(most, len(s))
		}
		words = append(words, "=?utf-8?B?"+b64(s[:n])+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}
