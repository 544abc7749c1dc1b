package record

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Proto is a transport protocol.
type Proto string

// The protocols of an inventory.
const (
	TCP Proto = "tcp"
	UDP Proto = "udp"
)

// Port is a port number of one protocol. Its text form is "25/tcp".
type Port struct {
	Number uint16
	Proto  Proto
}

// String returns the form that ParsePort reads.
func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Proto) }

// ParsePort reads "25/tcp" or "53/udp". The protocol has no default here: an
// expectation that guessed it would be wrong for half of the DNS servers.
func ParsePort(s string) (Port, error) {
	num, proto, ok := strings.Cut(s, "/")
	if !ok {
		return Port{}, fmt.Errorf("port %q has no protocol: write %s/tcp or %s/udp", Clean(s), Clean(s), Clean(s))
	}
	p, err := parseProto(proto)
	if err != nil {
		return Port{}, err
	}
	n, err := parseNumber(num)
	if err != nil {
		return Port{}, err
	}
	return Port{Number: n, Proto: p}, nil
}

func parseProto(s string) (Proto, error) {
	switch p := Proto(s); p {
	case TCP, UDP:
		return p, nil
	}
	return "", fmt.Errorf("protocol %q is neither tcp nor udp", Clean(s))
}

// parseNumber takes 1 to 65535 in plain decimal. A leading zero is refused:
// YAML 1.1 and C read it as octal, people do not.
func parseNumber(s string) (uint16, error) {
	if s == "" {
		return 0, errors.New("a port number is missing")
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("port %q is not a number", Clean(s))
		}
	}
	if s[0] == '0' && len(s) > 1 {
		return 0, fmt.Errorf("port %q has a leading zero", Clean(s))
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is outside 1-65535", Clean(s))
	}
	return uint16(n), nil
}

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// String returns "25" or "1-1024".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParsePortRange reads "25" or "1-1024".
func ParsePortRange(s string) (PortRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	a, err := parseNumber(first)
	if err != nil {
		return PortRange{}, err
	}
	if !isRange {
		return PortRange{a, a}, nil
	}
	b, err := parseNumber(last)
	if err != nil {
		return PortRange{}, err
	}
	if b < a {
		return PortRange{}, fmt.Errorf("range %d-%d runs backwards", a, b)
	}
	return PortRange{a, b}, nil
}

// PortSet is a set of port numbers: ranges in order that neither overlap nor
// touch. The zero value is empty. Build it with [NewPortSet].
type PortSet []PortRange

// NewPortSet returns the union of the ranges.
func NewPortSet(ranges ...PortRange) PortSet {
	in := slices.Clone(ranges)
	slices.SortFunc(in, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var out PortSet
	for _, r := range in {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Len returns the number of ports in s.
func (s PortSet) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Contains reports whether p is in s.
func (s PortSet) Contains(p uint16) bool {
	i, _ := slices.BinarySearchFunc(s, p, func(r PortRange, p uint16) int { return int(r.Last) - int(p) })
	return i < len(s) && s[i].First <= p
}

// Add returns s with the ports added; s itself stays as it is.
func (s PortSet) Add(ports ...uint16) PortSet {
	all := slices.Clone(s)
	for _, p := range ports {
		all = append(all, PortRange{p, p})
	}
	return NewPortSet(all...)
}

// Without returns the ports of s that are not in other; both stay as they are.
func (s PortSet) Without(other PortSet) PortSet {
	var out PortSet
	for _, r := range s {
		next := int(r.First) // the first port that is not decided
		for _, o := range other {
			if int(o.Last) < next {
				continue
			}
			if o.First > r.Last {
				break
			}
			if int(o.First) > next {
				out = append(out, PortRange{uint16(next), o.First - 1})
			}
			next = int(o.Last) + 1
		}
		if next <= int(r.Last) {
			out = append(out, PortRange{uint16(next), r.Last})
		}
	}
	return out
}

// All yields the ports in ascending order.
func (s PortSet) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for _, r := range s {
			for p := int(r.First); p <= int(r.Last); p++ {
				if !yield(uint16(p)) {
					return
				}
			}
		}
	}
}

// String returns the ranges with commas between them.
func (s PortSet) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// Ports is what to look at on a host.
type Ports struct{ TCP, UDP PortSet }

// Len returns the number of ports of both protocols.
func (p Ports) Len() int { return p.TCP.Len() + p.UDP.Len() }

// maxSpec bounds a port specification from a command line.
const maxSpec = 64 << 10

// ParsePorts reads the --ports form: numbers and ranges with commas between
// them, each TCP unless "/udp" follows it: "22,80-90,53/udp".
func ParsePorts(spec string) (Ports, error) {
	if len(spec) > maxSpec {
		return Ports{}, fmt.Errorf("port list is longer than %d bytes", maxSpec)
	}
	var tcp, udp []PortRange
	for part := range strings.SplitSeq(spec, ",") {
		part = strings.TrimSpace(part)
		num, proto, has := strings.Cut(part, "/")
		p := TCP
		if has {
			var err error
			if p, err = parseProto(proto); err != nil {
				return Ports{}, err
			}
		}
		r, err := ParsePortRange(num)
		if err != nil {
			return Ports{}, err
		}
		if p == UDP {
			udp = append(udp, r)
		} else {
			tcp = append(tcp, r)
		}
	}
	return Ports{TCP: NewPortSet(tcp...), UDP: NewPortSet(udp...)}, nil
}
