// Package message reads what is inside a mail: the header fields a person
// looks for and the tree of its parts (RFC 5322, RFC 2045-2047). It is pure and
// never refuses: whatever it is given, it returns what it could read and says
// where it had to stop. Depth, number of parts, size of a header and length of
// each text are bounded, so that one hostile mail costs no more than reading it
// once.
package message

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"strings"
	"unicode"
	"unicode/utf8"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // the old charsets that mail still comes in
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
)

// The bounds of what is read from one message.
const (
	MaxDepth       = 100     // multiparts within multiparts
	MaxParts       = 1000    // leaves listed
	MaxHeaderBytes = 1 << 20 // of the message's own header
	maxText        = 998     // bytes of one subject, name or address kept
	maxAddresses   = 100     // of To kept
)

// Summary is what a list of messages shows of one. Texts are decoded to UTF-8
// and hold no control characters.
type Summary struct {
	From           string   `json:"from"`
	To             []string `json:"to"`
	Subject        string   `json:"subject"`
	HasAttachments bool     `json:"has_attachments,omitempty"`
	Unparsed       bool     `json:"unparsed,omitempty"` // it is broken; Fault says how
	Fault          string   `json:"fault,omitempty"`
}

// Part is one leaf of the tree of parts, in the order of the message.
type Part struct {
	N           int    `json:"n"` // from 1
	Depth       int    `json:"depth"`
	ContentType string `json:"content_type"`
	Charset     string `json:"charset,omitempty"`
	Disposition string `json:"disposition,omitempty"`
	Filename    string `json:"filename,omitempty"` // as the mail says: never a path
	Size        int64  `json:"size"`               // bytes, decoded
}

// Read reads one message to its end. It returns what could be read even when
// the message is broken: then Unparsed is set. The error is r's own, never the
// message's.
func Read(r io.Reader) (Summary, []Part, error) {
	src := &source{r: r, left: MaxHeaderBytes}
	br := bufio.NewReader(src)
	h, err := textproto.ReadHeader(br)
	src.left = math.MaxInt64
	if src.err != nil {
		return Summary{}, nil, fmt.Errorf("read message: %w", src.err)
	}
	sum := summarize(mail.Header{Header: gomessage.Header{Header: h}})
	if err != nil && err != io.EOF { // EOF: a header and nothing else
		sum.fault(err)
		return sum, nil, nil
	}
	w := walker{sum: &sum}
	w.entity(gomessage.Header{Header: h}, br, 0)
	if src.err != nil {
		return Summary{}, nil, fmt.Errorf("read message: %w", src.err)
	}
	return sum, w.parts, nil
}

// source bounds the header and tells a failure of the reader from one of the
// message.
type source struct {
	r    io.Reader
	left int64
	err  error
}

var errHeaderTooLong = fmt.Errorf("header is longer than %d bytes", MaxHeaderBytes)

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errHeaderTooLong
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func summarize(h mail.Header) Summary {
	sum := Summary{From: first(addresses(h, "From", 1)), To: addresses(h, "To", maxAddresses)}
	subject, err := h.Subject()
	if err != nil {
		subject = h.Get("Subject")
	}
	sum.Subject = Clean(subject, maxText)
	return sum
}

func addresses(h mail.Header, field string, most int) []string {
	list := []string{}
	if h.Get(field) == "" {
		return list
	}
	parsed, err := h.AddressList(field)
	if err != nil {
		// Not an address list; what stands there is still what was meant.
		text, terr := h.Text(field)
		if terr != nil {
			text = h.Get(field)
		}
		return append(list, Clean(text, maxText))
	}
	for _, a := range parsed[:min(len(parsed), most)] {
		text := a.Address
		if a.Name != "" {
			text = a.Name + " <" + a.Address + ">"
		}
		list = append(list, Clean(text, maxText))
	}
	return list
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func (s *Summary) fault(err error) {
	if !s.Unparsed {
		s.Unparsed, s.Fault = true, Clean(strings.TrimSpace(strings.TrimPrefix(err.Error(), "message: ")), maxText)
	}
}

type walker struct {
	sum   *Summary
	parts []Part
}

// entity walks over one entity: a leaf, or a multipart with what is in it.
func (w *walker) entity(h gomessage.Header, body io.Reader, depth int) {
	typ, params, err := h.ContentType()
	if err == nil && strings.HasPrefix(typ, "multipart/") {
		w.multipart(body, params["boundary"], depth)
		return
	}
	if len(w.parts) >= MaxParts {
		w.fault(fmt.Errorf("more than %d parts", MaxParts))
		return
	}
	e, err := gomessage.New(h, body)
	if err != nil && !gomessage.IsUnknownCharset(err) {
		w.fault(err)
	}
	p := describe(h)
	p.N, p.Depth = len(w.parts)+1, depth
	p.Size, err = io.Copy(io.Discard, e.Body)
	if err != nil {
		w.fault(fmt.Errorf("part %d: %w", p.N, err))
	}
	if p.Disposition == "attachment" || p.Filename != "" {
		w.sum.HasAttachments = true
	}
	w.parts = append(w.parts, p)
}

// multipart walks over the parts. The reader is the standard library's, which
// bounds the header of a part (10,000 fields, 10 MiB); go-message's does not.
func (w *walker) multipart(body io.Reader, boundary string, depth int) {
	switch {
	case depth >= MaxDepth:
		w.fault(fmt.Errorf("multiparts nested deeper than %d", MaxDepth))
		return
	case boundary == "":
		w.fault(errors.New("multipart without a boundary"))
		return
	}
	mr := multipart.NewReader(body, boundary)
	for len(w.parts) <= MaxParts {
		part, err := mr.NextRawPart()
		if err == io.EOF {
			return
		}
		if err != nil {
			w.fault(err)
			return
		}
		var h gomessage.Header
		for _, name := range []string{"Content-Type", "Content-Transfer-Encoding", "Content-Disposition"} {
			if v := part.Header.Get(name); v != "" {
				h.Set(name, v)
			}
		}
		w.entity(h, part, depth+1)
		if w.sum.Unparsed {
			return // what follows a fault cannot be trusted to be where it seems
		}
	}
}

func (w *walker) fault(err error) { w.sum.fault(err) }

func describe(h gomessage.Header) Part {
	var p Part
	typ, params, err := h.ContentType()
	if err != nil || typ == "" {
		typ = "text/plain" // RFC 2045, section 5.2
	}
	p.ContentType, p.Charset = Clean(typ, maxText), Clean(params["charset"], maxText)
	disp, dparams, _ := h.ContentDisposition()
	p.Disposition = Clean(strings.ToLower(disp), maxText)
	name, err := (&mail.AttachmentHeader{Header: h}).Filename()
	if err != nil {
		name = dparams["filename"]
	}
	p.Filename = Clean(name, maxText)
	return p
}

// Clean makes a text out of a mail safe to show on one line: valid UTF-8,
// control and formatting characters (the ones that reverse a line's direction
// among them) as U+FFFD, line breaks and tabs as spaces, at most most bytes.
func Clean(s string, most int) string {
	if len(s) > most {
		s = s[:most]
		for s != "" { // not in the middle of a character
			if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), isBidi(r), r == '\u2028', r == '\u2029':
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// isBidi names the marks and overrides that change in which direction, and so
// in which order, a text is shown (UAX 9).
func isBidi(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || (0x202a <= r && r <= 0x202e) || (0x2066 <= r && r <= 0x2069)
}
