package smtpd

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// argonCost is what argon2id (RFC 9106) is told to spend.
type argonCost struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

// standardArgon is the cost of new hashes. At 19 MiB, four at once fit into what
// a small server has.
var standardArgon = argonCost{memory: 19 << 10, passes: 2, lanes: 1}

const (
	saltBytes = 16
	sumBytes  = 32

	minBcryptCost  = 4
	maxBcryptCost  = 15
	maxArgonMemory = 128 << 10 // KiB
	maxArgonPasses = 16
	maxArgonLanes  = 16
	maxArgonWork   = 1 << 20 // KiB times passes
)

// passwordHash is either bcrypt or argon2id.
type passwordHash struct {
	bcrypt    []byte
	argon     argonCost
	salt, sum []byte
}

// matches hashes a prepared password.
func (h passwordHash) matches(password string) bool {
	if h.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(h.bcrypt, []byte(password)) == nil
	}
	sum := argon2.IDKey([]byte(password), h.salt, h.argon.passes, h.argon.memory, h.argon.lanes, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// newHash is the text of a hash of a prepared password.
func newHash(password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails
	c := standardArgon
	sum := argon2.IDKey([]byte(password), salt, c.passes, c.memory, c.lanes, sumBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.passes, c.lanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// parseHash reads a hash. Its errors do not repeat it.
func parseHash(s string) (passwordHash, error) {
	switch {
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon(s)
	}
	return passwordHash{}, errors.New("neither bcrypt ($2a$, $2b$, $2y$) nor argon2id ($argon2id$)")
}

func parseBcrypt(s string) (passwordHash, error) {
	// $2b$NN$ and 22 characters of salt, 31 of the sum.
	if len(s) != 60 || s[6] != '$' || strings.Trim(s[7:], "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return passwordHash{}, errors.New("not a whole bcrypt hash")
	}
	cost, err := decimal(strings.TrimPrefix(s[4:6], "0"), maxBcryptCost)
	if err != nil || cost < minBcryptCost {
		return passwordHash{}, fmt.Errorf("the cost of bcrypt is not between %02d and %d", minBcryptCost, maxBcryptCost)
	}
	return passwordHash{bcrypt: []byte(s)}, nil
}

func parseArgon(s string) (passwordHash, error) {
	var h passwordHash
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, fmt.Errorf("not $argon2id$v=%d$m=..,t=..,p=..$salt$sum", argon2.Version)
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return h, errors.New("m=..,t=..,p=.. is expected")
	}
	var n [3]uint64
	for i, want := range []struct {
		name string
		most uint64
	}{{"m", maxArgonMemory}, {"t", maxArgonPasses}, {"p", maxArgonLanes}} {
		text, ok := strings.CutPrefix(costs[i], want.name+"=")
		if !ok {
			return h, errors.New("m=..,t=..,p=.. is expected")
		}
		var err error
		if n[i], err = decimal(text, want.most); err != nil {
			return h, fmt.Errorf("%s is not between 1 and %d", want.name, want.most)
		}
	}
	h.argon = argonCost{memory: uint32(n[0]), passes: uint32(n[1]), lanes: uint8(n[2])}
	if n[0] < 8*n[2] { // RFC 9106, section 3.1
		return h, errors.New("m is less than 8 times p")
	}
	if n[0]*n[1] > maxArgonWork {
		return h, fmt.Errorf("m times t is over %d", maxArgonWork)
	}
	b64 := base64.RawStdEncoding.Strict()
	var err1, err2 error
	h.salt, err1 = b64.DecodeString(parts[4])
	h.sum, err2 = b64.DecodeString(parts[5])
	// The decoder skips line ends.
	if strings.Contains(s, "\r") || err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errors.New("salt and sum are base64 without =, of 8 to 64 and of 16 to 64 bytes")
	}
	return h, nil
}

// decimal reads a number from 1 to most that is written in the one usual way.
func decimal(s string, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > most || strconv.FormatUint(n, 10) != s {
		return 0, strconv.ErrRange
	}
	return n, nil
}
