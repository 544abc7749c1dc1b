package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"postern.example/audit/record"
)

func writeJSON(w io.Writer, run record.Run) error {
	data, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return err
	}
	// Outside of strings JSON is ASCII, so every other character is in one, and
	// an escape there means the same.
	var b strings.Builder
	b.Grow(len(data) + 1)
	for _, r := range string(data) {
		switch {
		case r < 0x7f || record.Plain(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		}
	}
	b.WriteByte('\n')
	_, err = io.WriteString(w, b.String())
	return err
}
