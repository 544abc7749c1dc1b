package mailclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"postern.example/mailclient/address"
)

// DefaultMaxSize bounds a message, in octets, where nothing else is asked for.
const DefaultMaxSize = 256 << 20

// ErrUnsendable marks a message that no server can be given: it is wrong in
// itself, or over the size that was allowed.
var ErrUnsendable = errors.New("the message cannot be sent")

// Envelope says who a message is from and who gets it. The zero From is the
// null reverse-path.
type Envelope struct {
	From address.Address
	To   []address.Address
}

// Message is a message ready to go: its lines end in CRLF, its size is known.
// Small ones live in memory, large ones in a temporary file that Close removes.
// Safe for concurrent use, but for Close.
type Message struct {
	Envelope
	size     int64
	eightBit bool
	utf8     bool
	data     io.ReaderAt
	file     *os.File
}

// Size is the octets of the message.
func (m *Message) Size() int64 { return m.size }

// EightBit reports octets above 127, which need 8BITMIME (RFC 6152).
func (m *Message) EightBit() bool { return m.eightBit }

// UTF8 reports a header in UTF-8, which needs SMTPUTF8 (RFC 6531).
func (m *Message) UTF8() bool { return m.utf8 }

// Open reads the message from its beginning. Each reader is its own; there is
// nothing to close.
func (m *Message) Open() io.ReadSeeker { return io.NewSectionReader(m.data, 0, m.size) }

// Close frees what holds the message.
func (m *Message) Close() error {
	if m.file == nil {
		return nil
	}
	err := m.file.Close()
	if rerr := os.Remove(m.file.Name()); err == nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = rerr
	}
	m.file = nil
	return err
}

// ReadMessage takes a message as it is, from a file for instance, up to maxSize
// octets (0: DefaultMaxSize). Lines that end in CRLF stay as they are, byte for
// byte. A line that ends in LF alone gets its CR, and a last line without an end
// gets one, since a file on Unix is written so. A CR alone and a NUL have no
// place in a mail (RFC 5321 section 2.3.8, RFC 5322 section 4) and no right
// answer either: they are refused.
func ReadMessage(r io.Reader, env Envelope, maxSize int64) (*Message, error) {
	s := newSpool(maxSize)
	defer s.drop()
	n := &normaliser{w: s}
	if _, err := io.Copy(n, r); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	if err := n.end(); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return s.message(env)
}

// normaliser makes every line end CRLF.
type normaliser struct {
	w    io.Writer
	buf  []byte
	seen int64
	cr   bool // the last octet was CR
	open bool // the last line has no end yet
}

func (n *normaliser) Write(p []byte) (int, error) {
	n.buf = n.buf[:0]
	for i, c := range p {
		switch {
		case n.cr && c != '\n':
			return i, fmt.Errorf("%w: a CR stands alone at byte %d", ErrUnsendable, n.seen+int64(i))
		case c == 0:
			return i, fmt.Errorf("%w: a NUL stands at byte %d", ErrUnsendable, n.seen+int64(i)+1)
		case c == '\n' && !n.cr:
			n.buf = append(n.buf, '\r')
		}
		n.cr, n.open = c == '\r', c != '\n'
		n.buf = append(n.buf, c)
	}
	n.seen += int64(len(p))
	if _, err := n.w.Write(n.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (n *normaliser) end() error {
	if n.cr {
		return fmt.Errorf("%w: a CR stands alone at byte %d", ErrUnsendable, n.seen)
	}
	if !n.open {
		return nil
	}
	_, err := io.WriteString(n.w, "\r\n")
	return err
}

// spool collects a message, in memory as long as it is small.
type spool struct {
	mem      bytes.Buffer
	file     *os.File
	size     int64
	max      int64
	eightBit bool
}

const spoolInMemory = 1 << 20

func newSpool(maxSize int64) *spool {
	if maxSize <= 0 {
		maxSize = DefaultMaxSize
	}
	return &spool{max: maxSize}
}

func (s *spool) Write(p []byte) (int, error) {
	if s.size+int64(len(p)) > s.max {
		return 0, fmt.Errorf("%w: it has more than %d bytes", ErrUnsendable, s.max)
	}
	s.size += int64(len(p))
	if !s.eightBit {
		s.eightBit = bytes.ContainsFunc(p, func(r rune) bool { return r >= utf8.RuneSelf })
	}
	if s.file != nil {
		return s.file.Write(p)
	}
	s.mem.Write(p)
	if s.mem.Len() > spoolInMemory {
		f, err := os.CreateTemp("", "mailclient-*.eml")
		if err != nil {
			return 0, fmt.Errorf("spool message: %w", err)
		}
		s.file = f
		// Where an open file may lose its name, nothing stays behind whatever
		// happens to this process; elsewhere Close removes it.
		_ = os.Remove(f.Name())
		if _, err := s.mem.WriteTo(f); err != nil {
			return 0, fmt.Errorf("spool message: %w", err)
		}
		s.mem = bytes.Buffer{}
	}
	return len(p), nil
}

// message hands the spool over to a Message.
func (s *spool) message(env Envelope) (*Message, error) {
	m := &Message{Envelope: env, size: s.size, eightBit: s.eightBit, file: s.file}
	if s.file != nil {
		m.data = s.file
	} else {
		m.data = bytes.NewReader(s.mem.Bytes())
	}
	s.file = nil
	if m.eightBit {
		var err error
		if m.utf8, err = headerIsUTF8(m.Open()); err != nil {
			m.Close()
			return nil, fmt.Errorf("spool message: %w", err)
		}
	}
	return m, nil
}

// drop removes a spool that did not become a message.
func (s *spool) drop() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}

// headerIsUTF8 reports a header with octets above 127 that are UTF-8. Other
// ones are an old charset, which SMTPUTF8 does not cover and 8BITMIME carries.
func headerIsUTF8(r io.Reader) (bool, error) {
	const most = 1 << 20
	b := bufio.NewReader(io.LimitReader(r, most))
	found := false
	for {
		line, err := b.ReadString('\n')
		if err != nil && err != io.EOF {
			return false, err
		}
		if !isASCII(line) {
			if !utf8.ValidString(line) {
				return false, nil
			}
			found = true
		}
		if err == io.EOF || strings.TrimRight(line, "\r\n") == "" {
			return found, nil
		}
	}
}
