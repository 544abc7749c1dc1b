package record

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s in one line that shows what it holds and can do nothing else:
// control bytes (ESC among them), line breaks of any kind, characters without a
// glyph, bidirectional controls and bytes that are not UTF-8 become escapes like
// \x1b or \u202e. Ordinary text, in any script, is returned as it is.
func Clean(s string) string {
	if !needsCleaning(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case Plain(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

func needsCleaning(s string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	for _, r := range s {
		if !Plain(r) {
			return true
		}
	}
	return false
}

// Plain reports whether r may be shown as it is: it has a glyph or is the
// ordinary space. Format characters (Unicode category Cf) hold the
// bidirectional controls, the zero-width characters and the tags, and are not
// plain. U+FFFD is: it is what a reader shows for a broken byte.
func Plain(r rune) bool { return r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r) }
