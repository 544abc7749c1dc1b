package mailclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	mimeparts "mime/multipart"
	"strings"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // teaches go-message the charsets
	"golang.org/x/net/html"
)

// content is what a person reads of a message.
type content struct {
	Fields      []Field      `json:"header"`
	Text        string       `json:"text"`
	Attachments []attachment `json:"attachments"`
	Broken      string       `json:"broken,omitempty"`
}

type attachment struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Size int64  `json:"size"`
}

// Bounds of what is unpacked, since a small message can nest without end.
const (
	maxDepth = 20
	maxParts = 500
	maxText  = 4 << 20
)

// shown are the fields that are read; the rest is for --raw.
var shown = []string{"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID"}

func decode(raw []byte) content {
	d := decoder{}
	d.Fields, d.Attachments = []Field{}, []attachment{}
	e, err := message.Read(bytes.NewReader(raw))
	if e == nil {
		n, why := headerBreak(raw)
		if why != nil {
			d.broken(why)
			e, err = message.Read(io.MultiReader(bytes.NewReader(raw[:n]), strings.NewReader("\r\n"), bytes.NewReader(raw[n:])))
		}
		if e == nil {
			d.broken(err)
			text := raw[n:]
			d.Text = string(text[:min(len(text), maxText)])
			return d.content
		}
	}
	for _, name := range shown {
		for f := e.Header.FieldsByKey(name); f.Next(); {
			v, err := f.Text()
			if err != nil {
				v = f.Value()
			}
			d.Fields = append(d.Fields, Field{name, v})
		}
	}
	d.walk(e, err, 0)
	d.Text = d.plain.String()
	if d.Text == "" {
		d.Text = htmlText(d.html.String())
	}
	return d.content
}

// headerBreak finds the first line of a header that is no field, where the blank
// line is missing and the text begins. The reason is nil where there is none.
// A message that came without a header has smtpd's Received field all the same.
func headerBreak(raw []byte) (at int, why error) {
	why = errors.New("it has no header")
	for line := range bytes.Lines(raw) {
		text := bytes.TrimRight(line, "\r\n")
		name, _, colon := bytes.Cut(text, []byte(":"))
		name = bytes.TrimRight(name, " \t") // as old programs wrote it
		switch {
		case len(text) == 0:
			return 0, nil
		case at > 0 && (text[0] == ' ' || text[0] == '\t'):
		case !colon || !isFieldName(name):
			return at, why
		case !bytes.EqualFold(name, []byte("Received")):
			why = errors.New("a line of its header is no field, the text is shown from there")
		}
		at += len(line)
	}
	return 0, nil
}

// isFieldName knows the names of RFC 5322 section 2.2.
func isFieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(name) > 0
}

type decoder struct {
	content
	plain strings.Builder
	html  strings.Builder
	parts int
}

func (d *decoder) broken(err error) {
	if d.Broken == "" && err != nil {
		d.Broken = cut(err.Error(), 200)
	}
}

// walk takes an entity apart. A part whose charset or encoding is unknown is
// still worth showing, as it is.
func (d *decoder) walk(e *message.Entity, err error, depth int) {
	if err != nil {
		d.broken(err)
	}
	if d.parts++; d.parts > maxParts || depth > maxDepth {
		d.broken(errors.New("too many or too deeply nested parts"))
		return
	}
	kind, params, _ := e.Header.ContentType()
	if strings.HasPrefix(kind, "multipart/") {
		d.multipart(e.Body, params["boundary"], depth)
		return
	}
	disp, dparams, _ := e.Header.ContentDisposition()
	isText := disp != "attachment" && (kind == "text/plain" || kind == "text/html")
	if !isText {
		name := dparams["filename"]
		if name == "" {
			name = params["name"]
		}
		n, err := io.Copy(io.Discard, e.Body)
		d.broken(err)
		d.Attachments = append(d.Attachments, attachment{Name: safeName(name), Type: kind, Size: n})
		return
	}
	into := &d.plain
	if kind == "text/html" {
		into = &d.html
	}
	b, err := io.ReadAll(io.LimitReader(e.Body, maxText+1))
	d.broken(err)
	if len(b) > maxText || into.Len()+len(b) > maxText {
		d.broken(fmt.Errorf("the text has more than %d bytes", maxText))
		b = b[:max(0, min(len(b), maxText-into.Len()))]
	}
	into.Write(b)
}

// multipart takes the parts apart. The reader is the standard library's, which
// bounds the header of a part (10,000 fields, 10 MiB); go-message's does not.
func (d *decoder) multipart(body io.Reader, boundary string, depth int) {
	if boundary == "" {
		d.broken(errors.New("multipart without a boundary"))
		return
	}
	mr := mimeparts.NewReader(body, boundary)
	for d.parts <= maxParts {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			return
		}
		if err != nil {
			d.broken(err)
			return
		}
		var h message.Header
		for _, name := range []string{"Content-Type", "Content-Transfer-Encoding", "Content-Disposition"} {
			if v := p.Header.Get(name); v != "" {
				h.Set(name, v)
			}
		}
		e, err := message.New(h, p)
		d.walk(e, err, depth+1)
	}
}

// htmlText is the words of an HTML body, a line for each block. Nothing is
// fetched.
func htmlText(s string) string {
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(s))
	z.SetMaxBuf(maxText)
	skip := ""
	for {
		switch z.Next() {
		case html.ErrorToken:
			return strings.TrimSpace(b.String())
		case html.TextToken:
			if skip == "" {
				t := strings.Join(strings.Fields(string(z.Text())), " ")
				if t != "" {
					if n := b.Len(); n > 0 && b.String()[n-1] != '\n' {
						b.WriteByte(' ')
					}
					b.WriteString(t) // Text has resolved the entities
				}
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			switch tag := string(name); tag {
			case "script", "style", "title", "head":
				skip = tag
			case "body":
				skip = ""
			case "br", "p", "div", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote", "pre", "hr":
				newline(&b)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			switch tag := string(name); tag {
			case skip:
				skip = ""
			case "p", "div", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote":
				newline(&b)
			}
		}
	}
}

func newline(b *strings.Builder) {
	if b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
		b.WriteByte('\n')
	}
}
