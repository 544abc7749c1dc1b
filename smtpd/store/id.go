package store

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idLen is the length of an id in characters: 6 bytes of time and 9 of chance.
const idLen = 24

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns a fresh message id: 24 characters of [0-9a-z], which sort by
// time to the millisecond and cannot be guessed.
func NewID(now time.Time) string {
	var b [15]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(b[:6], ms[2:])
	rand.Read(b[6:]) // never fails (crypto/rand, Go 1.24)
	return idEncoding.EncodeToString(b[:])
}

// ValidID tells whether s has the form that NewID gives. Only such a name ever
// becomes part of a path.
func ValidID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
