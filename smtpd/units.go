package smtpd

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. Its text is a number with B, KiB, MiB, GiB or TiB,
// or KB, MB, GB or TB for powers of 1000.
type Size int64

// sizeUnits in the order in which String prefers them.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// ParseSize reads the text of a Size. A number alone is bytes.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		if len(s) > len(u.name) && strings.EqualFold(s[len(s)-len(u.name):], u.name) {
			return multiply(s, s[:len(s)-len(u.name)], u.bytes)
		}
	}
	return multiply(s, s, 1)
}

func multiply(s, number string, unit int64) (Size, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size such as 25MiB", s)
	}
	return Size(n * unit), nil
}

// String is the shortest text that ParseSize reads back as s.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Keep says how much is kept; the oldest messages go first. A zero field does
// not bound. Its text is a list of N, AGE and SIZE, such as 100000,30d,10GiB.
type Keep struct {
	Messages int64
	Age      time.Duration
	Bytes    Size
}

// DefaultKeep is what a Server keeps when nobody says.
var DefaultKeep = Keep{Messages: 100_000, Bytes: 10 << 30}

// IsZero tells whether k bounds nothing.
func (k Keep) IsZero() bool { return k == Keep{} }

// ParseKeep reads the text of a Keep.
func ParseKeep(s string) (Keep, error) {
	var k Keep
	for part := range strings.SplitSeq(s, ",") {
		if err := k.set(strings.TrimSpace(part)); err != nil {
			return Keep{}, err
		}
	}
	return k, nil
}

func (k *Keep) set(part string) error {
	bad := fmt.Errorf("%q is not a number of messages, an age such as 30d, or a size such as 10GiB", part)
	again := errors.New("keep names one bound of a kind")
	if n, err := strconv.ParseInt(part, 10, 64); err == nil {
		if n <= 0 {
			return bad
		}
		if k.Messages != 0 {
			return again
		}
		k.Messages = n
		return nil
	}
	if d, ok := parseAge(part); ok {
		if k.Age != 0 {
			return again
		}
		k.Age = d
		return nil
	}
	size, err := ParseSize(part)
	if err != nil || size == 0 {
		return bad
	}
	if k.Bytes != 0 {
		return again
	}
	k.Bytes = size
	return nil
}

func parseAge(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err != nil || n <= 0 || n > 36500 {
			return 0, false
		}
		return time.Duration(n) * 24 * time.Hour, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}

// String is a text that ParseKeep reads back as k.
func (k Keep) String() string {
	var parts []string
	if k.Messages != 0 {
		parts = append(parts, strconv.FormatInt(k.Messages, 10))
	}
	if k.Age != 0 {
		parts = append(parts, k.Age.String())
	}
	if k.Bytes != 0 {
		parts = append(parts, k.Bytes.String())
	}
	return strings.Join(parts, ",")
}
