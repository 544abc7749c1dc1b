package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parseMailbox reads a Mailbox at the start of s. The domain ends at the first
// character that cannot belong to one.
func parseMailbox(s string) (a Address, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		a.local, rest, err = parseQuoted(s[1:])
	} else {
		a.local, rest, err = parseDotAtom(s)
	}
	if err != nil {
		return Address{}, "", err
	}
	if len(a.local) > MaxLocal {
		return Address{}, "", fmt.Errorf("the local part has more than %d octets", MaxLocal)
	}
	rest, ok := strings.CutPrefix(rest, "@")
	if !ok {
		if rest == "" {
			return Address{}, "", errors.New("no @ and domain after the local part")
		}
		return Address{}, "", fmt.Errorf("unexpected %s in the local part", first(rest))
	}
	a.domain, rest, err = parseDomain(rest)
	if err != nil {
		return Address{}, "", err
	}
	if len(a.String())+len("<>") > MaxPath {
		return Address{}, "", fmt.Errorf("the path has more than %d octets", MaxPath)
	}
	return a, rest, nil
}

func parseDotAtom(s string) (local, rest string, err error) {
	end := 0
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		if r == utf8.RuneError && n == 1 {
			return "", "", errors.New("the local part is not UTF-8")
		}
		if r != '.' && !isAtext(r) {
			break
		}
		end += n
	}
	local = s[:end]
	switch {
	case local == "":
		return "", s, emptyLocal(s)
	case !isDotAtom(local):
		return "", "", errors.New("a dot in the local part stands at an end or beside another")
	}
	return local, s[end:], nil
}

func emptyLocal(s string) error {
	if s == "" || s[0] == '@' {
		return errors.New("the local part is empty")
	}
	return fmt.Errorf("unexpected %s in the local part", first(s))
}

// parseQuoted reads what follows the opening quote.
func parseQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return "", "", errors.New("the local part is not UTF-8")
		}
		switch {
		case r == '"':
			return b.String(), s[i+1:], nil
		case r == '\\':
			// Only printable ASCII may follow (quoted-pairSMTP).
			if i+1 >= len(s) || s[i+1] < ' ' || s[i+1] > '~' {
				return "", "", errors.New("a backslash in the quoted local part stands before nothing it may escape")
			}
			b.WriteByte(s[i+1])
			n = 2
		case r >= ' ' && r <= '~', isText(r):
			b.WriteString(s[i : i+n])
		default:
			return "", "", fmt.Errorf("unexpected %s in the quoted local part", first(s[i:]))
		}
		if b.Len() > MaxLocal {
			return "", "", fmt.Errorf("the local part has more than %d octets", MaxLocal)
		}
		i += n
	}
	return "", "", errors.New("the quoted local part has no closing quote")
}

// isDotAtom reports whether s needs no quotes: Dot-string of RFC 5321.
func isDotAtom(s string) bool {
	dot := true // a dot may stand neither first nor after another
	for _, r := range s {
		if r == '.' {
			if dot {
				return false
			}
			dot = true
			continue
		}
		if !isAtext(r) {
			return false
		}
		dot = false
	}
	return !dot
}

func isAtext(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return r > 0 && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	}
	return isText(r)
}

// isText reports whether a character outside ASCII may stand in a local part.
// RFC 6531 allows all of them; refused here are those that nobody has in a
// mailbox and that deceive a reader: C1 controls, line separators, blanks,
// bidirectional controls, the byte order mark, what Unicode leaves unassigned.
func isText(r rune) bool {
	switch r {
	case '\u200c', '\u200d': // joiners, which several scripts spell words with
		return true
	}
	return r >= utf8.RuneSelf && unicode.IsPrint(r)
}

// parseDomain reads a host name or an address literal at the start of s.
func parseDomain(s string) (domain, rest string, err error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	end := 0
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		if r == utf8.RuneError && n == 1 {
			return "", "", errors.New("the domain is not UTF-8")
		}
		if r != '.' && !isLabelRune(r) {
			break
		}
		end += n
		if end > MaxDomain {
			return "", "", fmt.Errorf("the domain has more than %d octets", MaxDomain)
		}
	}
	domain = s[:end]
	if domain == "" {
		if s != "" && s[0] != '>' {
			return "", "", fmt.Errorf("unexpected %s in the domain", first(s))
		}
		return "", "", errors.New("the domain is empty")
	}
	for label := range strings.SplitSeq(domain, ".") {
		switch {
		case label == "":
			return "", "", errors.New("the domain has an empty label")
		case len(label) > maxLabel:
			return "", "", fmt.Errorf("a label of the domain has more than %d octets", maxLabel)
		case label[0] == '-' || label[len(label)-1] == '-':
			return "", "", errors.New("a label of the domain starts or ends with a hyphen")
		}
	}
	return domain, s[end:], nil
}

// isLabelRune takes letters, digits, hyphen and underscore, and of the rest of
// Unicode what IDNA2008 (RFC 5892) builds labels from: letters, marks, digits
// and its few context characters. The exact table is for who resolves the name.
func isLabelRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		return true
	case r < utf8.RuneSelf:
		return false
	}
	switch r {
	case '\u00b7', '\u0375', '\u05f3', '\u05f4', '\u200c', '\u200d', '\u30fb':
		return true
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd)
}

func parseLiteral(s string) (domain, rest string, err error) {
	end := strings.IndexByte(s, ']')
	if end < 0 || end > MaxDomain {
		return "", "", errors.New("the address literal has no closing ]")
	}
	in := s[1:end]
	const tag = "IPv6:"
	v6 := len(in) > len(tag) && strings.EqualFold(in[:len(tag)], tag)
	if v6 {
		in = in[len(tag):]
	}
	ip, err := netip.ParseAddr(in)
	if err != nil || ip.Is6() != v6 || ip.Zone() != "" {
		return "", "", errors.New("the address literal is neither [IPv4] nor [IPv6:address]")
	}
	return s[:end+1], s[end+1:], nil
}

// dropRoute takes the source route off a path that has one.
func dropRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	for in := s; ; {
		_, rest, err := parseDomain(in[1:])
		if err != nil {
			return "", fmt.Errorf("read source route: %w", err)
		}
		switch {
		case len(s)-len(rest) > MaxPath:
			return "", fmt.Errorf("the source route has more than %d octets", MaxPath)
		case strings.HasPrefix(rest, ":"):
			return rest[1:], nil
		case strings.HasPrefix(rest, ",@"):
			in = rest[1:]
		default:
			return "", errors.New("the source route does not end with a colon")
		}
	}
}

// first names the first character of s, for an error.
func first(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return fmt.Sprintf("byte 0x%02x", s[0])
	}
	return strconv.QuoteRuneToASCII(r)
}
