package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// InlineMax is the size in bytes up to which a body is kept as a row of the
// database; above it a file is cheaper (measured: they cross at 64 KiB).
const InlineMax = 64 << 10

const tempPrefix = "incoming-"

func isTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// Body collects the bytes of one message: in memory up to InlineMax, in a file
// of the store beyond. Not safe for concurrent use. Discard it, unless Accept
// has taken it.
type Body struct {
	dir  string
	disk disk
	buf  bytes.Buffer
	file *os.File
	size int64
	err  error // of an earlier Write; sticky
}

// NewBody returns an empty body. It touches the disk when it grows past
// InlineMax, not before.
func (s *Store) NewBody() *Body { return &Body{dir: s.bodies, disk: s.disk} }

// disk is how files are made durable. A test can see to it that this is done,
// and in which order, or let it fail.
type disk struct {
	sync    func(*os.File) error
	syncDir func(dir string) error
}

var realDisk = disk{sync: (*os.File).Sync, syncDir: syncDir}

// Size is the number of bytes written.
func (b *Body) Size() int64 { return b.size }

// Write appends p. After an error, ErrFull among them, the body is of no more
// use than to be discarded.
func (b *Body) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.write(p)
	b.size += int64(n)
	b.err = err
	return n, err
}

func (b *Body) write(p []byte) (int, error) {
	if b.file == nil && b.buf.Len()+len(p) <= InlineMax {
		return b.buf.Write(p)
	}
	if b.file == nil {
		f, err := os.CreateTemp(b.dir, tempPrefix)
		if err != nil {
			return 0, engineError("create body file", err)
		}
		b.file = f
		if _, err := f.Write(b.buf.Bytes()); err != nil {
			return 0, engineError("write body file", err)
		}
		b.buf = bytes.Buffer{}
	}
	n, err := b.file.Write(p)
	if err != nil {
		return n, engineError("write body file", err)
	}
	return n, nil
}

// Discard gives up the body and what it holds on disk. It may be called more
// than once, and after Accept, where it does nothing.
func (b *Body) Discard() {
	if b.file != nil {
		b.file.Close()
		os.Remove(b.file.Name())
		b.file = nil
	}
	b.buf = bytes.Buffer{}
	b.err = errors.New("store: body was discarded")
}

// settle makes a body that is a file durable under its final name. On an error
// nothing remains.
func (b *Body) settle(id string) error {
	if b.file == nil {
		return nil
	}
	temp, final := b.file.Name(), filepath.Join(b.dir, id)
	err := b.disk.sync(b.file)
	if cerr := b.file.Close(); err == nil {
		err = cerr
	}
	b.file = nil
	if err == nil {
		err = os.Rename(temp, final)
	}
	if err != nil {
		os.Remove(temp)
		return engineError("settle body file", err)
	}
	if err := b.disk.syncDir(b.dir); err != nil {
		os.Remove(final)
		return engineError("settle body file", err)
	}
	return nil
}

// Raw is a reader over the bytes of one message. Close it.
type Raw interface {
	io.ReadSeekCloser
	Size() int64
}

type inlineRaw struct{ *bytes.Reader }

func (inlineRaw) Close() error { return nil }

type fileRaw struct {
	*os.File
	size int64
}

func (r fileRaw) Size() int64 { return r.size }

func openBody(path string) (Raw, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open body: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open body: %w", err)
	}
	return fileRaw{f, st.Size()}, nil
}
