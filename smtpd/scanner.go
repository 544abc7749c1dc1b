package smtpd

// scanner finds in a body what must not be there, and where it ends.
type scanner struct {
	lax    bool // a bare LF is CRLF, but for the end mark
	atLine bool // at the start of a line
	strict bool // the line before it ended in CRLF
	dot    bool // a dot began the line, and nothing followed it yet
	cr     bool // the last octet was CR
}

// data scans a stretch of what DATA carries and appends the message's octets to
// out, up to its capacity: n of in are used up, and end says that the end mark
// is among them. ok is false at a bare CR, a bare LF or a NUL.
func (s *scanner) data(out, in []byte) (_ []byte, n int, end, ok bool) {
	for i, c := range in {
		if len(out)+minRead > cap(out) {
			return out, i, false, true
		}
		switch {
		case c == 0, s.cr && c != '\n', c == '\n' && !s.cr && !s.lax:
			return nil, 0, false, false
		case c == '\r':
			s.cr = true // what it ends is decided with its LF
		case c == '\n':
			crlf := s.cr
			if s.dot {
				if crlf && s.strict {
					return out, i + 1, true, true
				}
				out = append(out, '.') // a dot alone that ends nothing is text
			}
			out = append(out, '\r', '\n')
			s.atLine, s.strict, s.dot, s.cr = true, crlf, false, false
		case c == '.' && s.atLine:
			s.dot, s.atLine = true, false // doubled, or the end: it is not text itself
		default:
			out = append(out, c)
			s.dot, s.atLine = false, false
		}
	}
	return out, len(in), false, true
}

// chunk scans a stretch of a BDAT body. A CR that is its last octet is left for
// what follows.
func (s *scanner) chunk(buf []byte) (ok bool) {
	for _, c := range buf {
		if c == 0 || s.cr != (c == '\n') {
			return false
		}
		s.cr = c == '\r'
	}
	return true
}
