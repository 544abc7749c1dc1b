package scope

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"postern.example/audit/record"
)

// The widest allow entries: a typing mistake of one digit should not turn an
// audit of a rack into one of a continent.
const (
	minBits4 = 8
	minBits6 = 32
)

// block is a part of the address space that is never contacted.
type block struct {
	prefix netip.Prefix
	what   string
}

// blocks returns what no list can open. Sources: RFC 6890 and the IANA
// special-purpose registries, and the clouds' own documentation for the
// metadata addresses that lie outside the link-local blocks.
func blocks() []block {
	p := netip.MustParsePrefix
	return []block{
		{p("0.0.0.0/8"), "this network (RFC 791)"},
		{p("169.254.0.0/16"), "link-local, where the clouds keep their metadata (RFC 3927)"},
		{p("224.0.0.0/4"), "multicast (RFC 5771)"},
		{p("240.0.0.0/4"), "reserved and broadcast (RFC 1112)"},
		{p("100.100.100.200/32"), "a cloud's metadata service"},
		{p("168.63.129.16/32"), "a cloud's metadata service"},
		{p("192.0.0.192/32"), "a cloud's metadata service"},
		{p("fd00:ec2::254/128"), "a cloud's metadata service"},
		{p("fd20:ce::254/128"), "a cloud's metadata service"},
		{p("::/128"), "the unspecified address (RFC 4291)"},
		{p("ff00::/8"), "multicast (RFC 4291)"},
		{p("fe80::/10"), "link-local (RFC 4291)"},
		{p("64:ff9b::/96"), "NAT64, an IPv4 address in disguise (RFC 6052)"},
		{p("64:ff9b:1::/48"), "NAT64, an IPv4 address in disguise (RFC 8215)"},
		{p("2002::/16"), "6to4, an IPv4 address in disguise (RFC 3056)"},
		{p("2001::/32"), "Teredo, an IPv4 address in disguise (RFC 4380)"},
		{p("::ffff:0:0:0/96"), "IPv4-translated, an IPv4 address in disguise (RFC 2765)"},
	}
}

// checkAddr reports why addr is never contacted, whatever the lists say.
// addr is valid and unmapped.
func checkAddr(blocked []block, addr netip.Addr) error {
	if addr.Zone() != "" {
		return errors.New("it has a zone")
	}
	for _, b := range blocked {
		if b.prefix.Contains(addr) {
			return fmt.Errorf("it is in %v, %s", b.prefix, b.what)
		}
	}
	if addr.Is6() {
		raw := addr.As16()
		if addr != netip.IPv6Loopback() && [12]byte(raw[:12]) == [12]byte{} {
			return errors.New("it is IPv4-compatible, an IPv4 address in disguise (RFC 4291)")
		}
		// RFC 5214, section 6.1: the interface identifier is 0000:5efe or
		// 0200:5efe and the IPv4 address.
		if raw[8]&^0x02 == 0 && raw[9] == 0 && raw[10] == 0x5e && raw[11] == 0xfe {
			return errors.New("it is ISATAP, an IPv4 address in disguise (RFC 5214)")
		}
	}
	return nil
}

// ParseAllow reads an entry of an allow list: a prefix, or an address that
// stands for itself. It refuses what is too wide, what has bits set behind the
// prefix length, and what could never be contacted anyway.
func ParseAllow(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err != nil {
		return p, err
	}
	return p, checkAllow(p)
}

func checkAllow(p netip.Prefix) error {
	least := minBits6
	if p.Addr().Is4() {
		least = minBits4
	}
	if p.Bits() < least {
		return fmt.Errorf("%v is too wide: an allow entry is at most a /%d", p, least)
	}
	for _, b := range blocks() {
		if b.prefix.Bits() <= p.Bits() && b.prefix.Contains(p.Addr()) {
			return fmt.Errorf("%v is never contacted: it is in %v, %s", p, b.prefix, b.what)
		}
	}
	if p.IsSingleIP() {
		if err := checkAddr(nil, p.Addr()); err != nil {
			return fmt.Errorf("%v is never contacted: %w", p.Addr(), err)
		}
	}
	return nil
}

// ParseExclude reads an entry of an exclude list. Any width is good: an exclude
// entry can only make the scope smaller.
func ParseExclude(s string) (netip.Prefix, error) { return parsePrefix(s) }

func parsePrefix(s string) (netip.Prefix, error) {
	var p netip.Prefix
	if strings.Contains(s, "/") {
		var err error
		if p, err = netip.ParsePrefix(s); err != nil {
			return p, fmt.Errorf("%q is not a prefix like 10.20.0.0/24 or fd00:1::/64", record.Clean(s))
		}
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return p, fmt.Errorf("%q is neither a prefix like 10.20.0.0/24 nor an address", record.Clean(s))
		}
		if a.Zone() != "" {
			return p, fmt.Errorf("%q has a zone", record.Clean(s))
		}
		a = a.Unmap()
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%v is IPv4 written as IPv6: write the IPv4 prefix", p)
	}
	if m := p.Masked(); m != p {
		return p, fmt.Errorf("%v has bits set behind its length: write %v or %v/%d", p, m, p.Addr(), p.Addr().BitLen())
	}
	return p, nil
}

// Reach is from where an address can be reached, as far as the address tells.
type Reach string

// The reaches, narrowest first.
const (
	Loopback Reach = "loopback" // this machine
	Private  Reach = "private"  // RFC 1918, RFC 4193, RFC 6598 and the like
	Public   Reach = "public"
)

// ReachOf returns the reach of addr.
func ReachOf(addr netip.Addr) Reach {
	addr = addr.Unmap()
	switch {
	case addr.IsLoopback():
		return Loopback
	case addr.IsPrivate(), addr.IsLinkLocalUnicast():
		return Private
	}
	for _, p := range notRouted() {
		if p.Contains(addr) {
			return Private
		}
	}
	return Public
}

// ReachOfPrefix returns the widest reach of the addresses in p.
func ReachOfPrefix(p netip.Prefix) Reach {
	local := append(notRouted(),
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"))
	for _, l := range append(local, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")) {
		if l.Bits() <= p.Bits() && l.Contains(p.Addr()) {
			return ReachOf(p.Addr())
		}
	}
	return Public
}

// notRouted returns the blocks that the Internet does not route and that
// netip.Addr.IsPrivate leaves out: shared (RFC 6598), documentation (RFC 5737,
// RFC 3849, RFC 9637) and benchmarks (RFC 2544, RFC 5180).
func notRouted() []netip.Prefix {
	p := netip.MustParsePrefix
	return []netip.Prefix{
		p("100.64.0.0/10"), p("192.0.2.0/24"), p("198.51.100.0/24"), p("203.0.113.0/24"), p("198.18.0.0/15"),
		p("2001:db8::/32"), p("3fff::/20"), p("2001:2::/48"),
	}
}
