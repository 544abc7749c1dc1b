package admit

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxList is how many bytes ParseList reads.
const MaxList = 4 << 20

const (
	maxFaults = 50 // told of one list
	maxQuoted = 64 // bytes of a wrong entry that are shown
)

// List is a set of addresses and networks. It does not change, so it is safe for
// concurrent use. A nil List and the zero value are empty.
type List struct {
	nets map[netip.Prefix]struct{}
	bits [2][]int // lengths that occur, longest first, of IPv4 and IPv6
}

// ParseList reads a list: an address or a network (192.0.2.7, 2001:db8::/32) a
// line, # begins a comment, empty lines are nothing. IPv4-mapped IPv6 is IPv4,
// zones are dropped; ::/0 is all of IPv6 and nothing of IPv4. An address that
// has bits after its network's length is a fault, as one of the two must be
// wrong. The error names every fault, up to 50, as name:line.
func ParseList(name string, data []byte) (*List, error) {
	if len(data) > MaxList {
		return nil, fmt.Errorf("%s: the list is longer than %d MiB", name, MaxList>>20)
	}
	l := &List{nets: map[netip.Prefix]struct{}{}}
	var errs []error
	number, faults := 0, 0
	for line := range bytes.Lines(data) {
		number++
		entry, _, _ := bytes.Cut(line, []byte("#"))
		entry = bytes.Trim(entry, " \t\r\n")
		if len(entry) == 0 {
			continue
		}
		p, err := parseEntry(string(entry))
		if err == nil {
			l.nets[p] = struct{}{}
			continue
		}
		if faults++; faults <= maxFaults {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, number, err))
		}
	}
	if faults > maxFaults {
		errs = append(errs, fmt.Errorf("%s: %d more faults", name, faults-maxFaults))
	}
	if faults > 0 {
		return nil, errors.Join(errs...)
	}
	l.index()
	return l, nil
}

// NewList makes a List of networks, as ParseList reads them.
func NewList(nets ...netip.Prefix) (*List, error) {
	l := &List{nets: make(map[netip.Prefix]struct{}, len(nets))}
	var errs []error
	for _, n := range nets {
		p, err := canonicalNet(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.nets[p] = struct{}{}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	l.index()
	return l, nil
}

func parseEntry(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return p, fmt.Errorf("%s is not an address or a network", quote(s))
		}
		return canonicalNet(p)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is not an address or a network", quote(s))
	}
	a = canonical(a)
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// quote shows a stranger's text without letting it reach a terminal.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "..."
	}
	return fmt.Sprintf("%+q", s)
}

// canonical is the one form of an address.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func canonicalNet(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return p, errors.New("a network is not valid")
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if m := p.Masked(); m != p {
		return p, fmt.Errorf("%s has bits after its length (%s is meant?)", p, m)
	}
	return p, nil
}

// index notes which lengths occur, so that a look-up tries no other.
func (l *List) index() {
	var seen [2][129]bool
	for p := range l.nets {
		seen[family(p.Addr())][p.Bits()] = true
	}
	for f := range seen {
		for bits := 128; bits >= 0; bits-- {
			if seen[f][bits] {
				l.bits[f] = append(l.bits[f], bits)
			}
		}
	}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// Match returns the longest network of l that holds a, and whether there is one.
func (l *List) Match(a netip.Addr) (netip.Prefix, bool) {
	if l == nil || len(l.nets) == 0 || !a.IsValid() {
		return netip.Prefix{}, false
	}
	a = canonical(a)
	for _, bits := range l.bits[family(a)] {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if _, ok := l.nets[p]; ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Len is how many addresses and networks l holds.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.nets)
}

// Nets are the networks of l in order, IPv4 first; an address is a network of
// full length. The slice is the caller's.
func (l *List) Nets() []netip.Prefix {
	if l == nil {
		return nil
	}
	nets := make([]netip.Prefix, 0, len(l.nets))
	for p := range l.nets {
		nets = append(nets, p)
	}
	slices.SortFunc(nets, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return nets
}

// String is a text that ParseList reads back as l.
func (l *List) String() string {
	var b strings.Builder
	for _, p := range l.Nets() {
		if p.IsSingleIP() {
			b.WriteString(p.Addr().String())
		} else {
			b.WriteString(p.String())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// listed tells whether a is allowed or blocked by its longest network; allowed
// where it stands on both lists with the same one.
func listed(allow, block *List, a netip.Addr) (allowed, blocked bool) {
	p, allowed := allow.Match(a)
	q, blocked := block.Match(a)
	if allowed && blocked {
		allowed = p.Bits() >= q.Bits()
		blocked = !allowed
	}
	return allowed, blocked
}
