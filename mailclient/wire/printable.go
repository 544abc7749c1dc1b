package wire

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable is s as a terminal, a log line or a table cell may show it: one
// line, with control characters, line separators, characters that turn the
// direction of text and bytes that are not UTF-8 written as \x1b or \u202e.
func Printable(s string) string {
	if isPrintable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < utf8.RuneSelf && !showable(r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !showable(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case !showable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func isPrintable(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
		if !showable(r) {
			return false
		}
	}
	return true
}

// showable takes the joiners although they are invisible: words of several
// scripts and many emoji are spelt with them, and they move nothing.
func showable(r rune) bool {
	return unicode.IsPrint(r) || r == '\u200c' || r == '\u200d' || unicode.Is(unicode.Zs, r)
}

// quote is a quoted, cut s for an error.
func quote(s string, most int) string {
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
