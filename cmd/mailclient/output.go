package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"postern.example/mailclient"
	"postern.example/mailclient/wire"
)

// writeJSON writes v indented, with everything invisible escaped: encoding/json
// leaves C1 controls and marks that turn the direction of text as they are, and
// a terminal obeys them.
func writeJSON(w io.Writer, v any) error {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	out := make([]byte, 0, buf.Len())
	for _, r := range buf.String() {
		if r < 0x7f || unicode.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, u)
		}
	}
	_, err := w.Write(out)
	return err
}

// writeVerdicts writes head and a line for each recipient, unless the server was
// asked for none of them: what failed before is said in one line, as the error.
func writeVerdicts(w io.Writer, res *mailclient.Result, head string) error {
	if !slices.ContainsFunc(res.Recipients, mailclient.Recipient.Asked) {
		return nil
	}
	b := bytes.NewBufferString(head)
	for _, r := range res.Recipients {
		what := "accepted"
		switch {
		case r.Uncertain:
			what = "no verdict, it may have been taken"
		case !r.Accepted && r.Retry:
			what = "not accepted, may be tried again"
		case !r.Accepted && r.Code == 0:
			what = "not accepted"
		case !r.Accepted:
			what = "refused for good"
		}
		reply := wire.Printable(r.Text)
		if r.Code != 0 {
			reply = (wire.Reply{Code: r.Code, Enhanced: r.Enhanced, Lines: []string{r.Text}}).String()
		}
		fmt.Fprintf(b, "%s: %s: %s\n", r.Address, what, reply)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// columns is the width of the terminal behind w, or 0.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}
