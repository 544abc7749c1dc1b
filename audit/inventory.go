package audit

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// Inventory is what an operator says about their own hosts. It is read by [Load]
// or [Parse], which guarantee that every address in it is inside Allow and
// outside Exclude, and that no two hosts share a name or an address. It does not
// change while it is in use.
type Inventory struct {
	File    string // the name it was read under
	Allow   []netip.Prefix
	Exclude []netip.Prefix
	Hosts   []Host
}

// Host is one entry of an inventory.
type Host struct {
	Name      string
	Owner     string
	Addresses []netip.Addr // written as addresses
	Names     []string     // written as names; resolved by Run
	// Ports is what to look at. Expected ports are looked at besides.
	Ports    record.Ports
	Expect   []Expect
	SilentOK bool // it may answer nothing at all

	place  place
	places map[string]place // of its addresses and names
}

// From says who may reach an expected port.
type From string

// The values of From, narrowest first.
const (
	FromLoopback From = "loopback" // the host itself
	FromPrivate  From = "private"  // addresses that the Internet does not route
	FromAny      From = "any"
)

// Expect is a port that is meant to be open.
type Expect struct {
	Port    record.Port
	Service string
	Reason  string
	Expires time.Time // the last day on which it is expected, at 0:00 UTC; zero: no end
	From    From
}

// Limits on the texts of an inventory, in characters.
const (
	maxName = 253
	maxText = 500
)

// Parse reads an inventory from data; file is the name that faults carry. Every
// fault is found at once: the error is an [*InventoryError].
func Parse(file string, data []byte) (*Inventory, error) {
	p := &parser{document: document{file: file}}
	inv := p.inventory(data)
	if len(p.faults) > 0 {
		err := &InventoryError{Faults: p.faults}
		err.sort()
		return nil, err
	}
	return inv, nil
}

// parser is the meaning of an inventory on top of a document.
type parser struct {
	document
	allowAt []place
}

func (p *parser) inventory(data []byte) *Inventory {
	inv := &Inventory{File: p.file}
	root := p.parse(data)
	if root == nil {
		return inv
	}
	// Without ports in defaults: every TCP port. What an audit leaves out, it
	// leaves out by the operator's word.
	defaults := record.Ports{TCP: record.NewPortSet(record.PortRange{First: 1, Last: 65535})}
	var hosts *yaml.Node
	p.mapping(root, "the inventory", map[string]field{
		"version": {p.version, true},
		"allow": {func(n *yaml.Node) {
			if p.list(n, "allow", func(n *yaml.Node) {
				if pre, ok := p.prefix(n, "allow", scope.ParseAllow); ok {
					inv.Allow = append(inv.Allow, pre)
					p.allowAt = append(p.allowAt, at(n))
				}
			}) == 0 {
				p.fault(at(n), "allow is empty: nothing may be contacted")
			}
		}, true},
		"exclude": {func(n *yaml.Node) {
			p.list(n, "exclude", func(n *yaml.Node) {
				if pre, ok := p.prefix(n, "exclude", scope.ParseExclude); ok {
					inv.Exclude = append(inv.Exclude, pre)
				}
			})
		}, false},
		"defaults": {func(n *yaml.Node) {
			p.mapping(n, "defaults", map[string]field{
				"ports": {func(n *yaml.Node) { p.ports(n, &defaults) }, false},
			})
		}, false},
		// Hosts may stand before the defaults they follow.
		"hosts": {func(n *yaml.Node) { hosts = n }, true},
	})
	if hosts == nil {
		return inv
	}
	if p.list(hosts, "hosts", func(n *yaml.Node) { inv.Hosts = append(inv.Hosts, p.host(n, defaults)) }) == 0 {
		p.fault(at(hosts), "hosts is empty: there is nothing to audit")
	}
	p.checkScope(inv)
	p.checkOverlap(inv)
	return inv
}

func (p *parser) version(n *yaml.Node) {
	if n = p.scalar(n, "version"); n != nil && (n.ShortTag() != "!!int" || n.Value != "1") {
		p.fault(at(n), "version %q is not known; this program reads version 1", shorten(n.Value))
	}
}

func (p *parser) prefix(n *yaml.Node, what string, parse func(string) (netip.Prefix, error)) (netip.Prefix, bool) {
	if n = p.scalar(n, "an entry of "+what); n == nil {
		return netip.Prefix{}, false
	}
	pre, err := parse(n.Value)
	if err != nil {
		p.fault(at(n), "%s: %v", what, err)
		return netip.Prefix{}, false
	}
	return pre, true
}

// ports reads {tcp: …, udp: …} over what is in to: a protocol that is not named
// keeps what it has.
func (p *parser) ports(n *yaml.Node, to *record.Ports) {
	p.mapping(n, "ports", map[string]field{
		"tcp": {func(n *yaml.Node) { to.TCP = p.portSet(n, "tcp") }, false},
		"udp": {func(n *yaml.Node) { to.UDP = p.portSet(n, "udp") }, false},
	})
}

// portSet reads 25, 1-1024, "22,80-90", or a list of these.
func (p *parser) portSet(n *yaml.Node, what string) record.PortSet {
	var ranges []record.PortRange
	one := func(n *yaml.Node) {
		if n = p.scalar(n, what+" ports"); n == nil {
			return
		}
		for part := range strings.SplitSeq(n.Value, ",") {
			r, err := record.ParsePortRange(strings.TrimSpace(part))
			if err != nil {
				p.fault(at(n), "%s ports: %v", what, err)
				return
			}
			ranges = append(ranges, r)
		}
	}
	if target := n; target.Kind == yaml.SequenceNode || target.Kind == yaml.AliasNode && target.Alias.Kind == yaml.SequenceNode {
		p.list(n, what+" ports", one) // an empty list is none of a default
	} else {
		one(n)
	}
	return record.NewPortSet(ranges...)
}

func (p *parser) host(n *yaml.Node, defaults record.Ports) Host {
	before := len(p.faults)
	h := Host{Ports: defaults, place: at(n), places: make(map[string]place)}
	addressed := 0
	p.mapping(n, "a host", map[string]field{
		"name": {func(n *yaml.Node) {
			h.Name = p.text(n, "name", maxName)
			if strings.IndexFunc(h.Name, func(r rune) bool {
				return !unicode.In(r, unicode.L, unicode.M, unicode.N) && !strings.ContainsRune("._:-", r)
			}) >= 0 {
				p.fault(at(n), "name %q may hold letters, digits and . _ : - only", h.Name)
			}
		}, true},
		"address": {func(n *yaml.Node) {
			addressed++
			p.address(n, &h)
		}, false},
		"addresses": {func(n *yaml.Node) {
			addressed++
			if p.list(n, "addresses", func(n *yaml.Node) { p.address(n, &h) }) == 0 {
				p.fault(at(n), "addresses is empty")
			}
		}, false},
		"owner":  {func(n *yaml.Node) { h.Owner = p.text(n, "owner", maxText) }, false},
		"ports":  {func(n *yaml.Node) { p.ports(n, &h.Ports) }, false},
		"expect": {func(n *yaml.Node) { p.expectations(n, &h) }, false},
		"silent": {func(n *yaml.Node) {
			if n = p.scalar(n, "silent"); n == nil {
				return
			}
			if h.SilentOK = n.Value == "ok"; !h.SilentOK {
				p.fault(at(n), "silent may only be ok, not %q", shorten(n.Value))
			}
		}, false},
	})
	switch {
	case n.Kind != yaml.MappingNode && n.Kind != yaml.AliasNode:
	case addressed == 0:
		p.fault(h.place, "a host needs an address, or addresses")
	case addressed == 2:
		p.fault(h.place, "a host has either an address or addresses, not both")
	}
	if len(p.faults) == before && h.Ports.Len()+len(h.Expect) == 0 {
		// An audit that looks at nothing finds nothing, which reads as clean.
		p.fault(h.place, "there is no port to look at: tcp and udp are empty, and nothing is expected")
	}
	return h
}

func (p *parser) address(n *yaml.Node, h *Host) {
	if n = p.scalar(n, "an address"); n == nil {
		return
	}
	s := n.Value
	key := scope.CanonicalName(s)
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			p.fault(at(n), "address %s has a zone: link-local addresses are never contacted", record.Clean(s))
			return
		}
		a = a.Unmap()
		key = a.String()
		h.Addresses = append(h.Addresses, a)
	} else if strings.Contains(s, "/") {
		p.fault(at(n), "address %q is a network: an inventory lists hosts one by one", shorten(s))
		return
	} else if err := scope.CheckName(s); err != nil {
		p.fault(at(n), "address %q: %v", shorten(s), err)
		return
	} else {
		h.Names = append(h.Names, s)
	}
	if old, twice := h.places[key]; twice {
		p.fault(at(n), "address %s stands twice in one host, first in line %d", key, old.line)
		return
	}
	h.places[key] = at(n)
}

func (p *parser) expectations(n *yaml.Node, h *Host) {
	seen := make(map[record.Port]place)
	p.list(n, "expect", func(n *yaml.Node) {
		e := Expect{From: FromAny}
		where := at(n)
		p.mapping(n, "an expectation", map[string]field{
			"port": {func(n *yaml.Node) {
				if n = p.scalar(n, "port"); n == nil {
					return
				}
				where = at(n)
				var err error
				if e.Port, err = record.ParsePort(n.Value); err != nil {
					p.fault(at(n), "%v", err)
				}
			}, true},
			"service": {func(n *yaml.Node) { e.Service = p.text(n, "service", maxText) }, false},
			"reason":  {func(n *yaml.Node) { e.Reason = p.text(n, "reason", maxText) }, false},
			"expires": {func(n *yaml.Node) {
				if n = p.scalar(n, "expires"); n == nil {
					return
				}
				var err error
				if e.Expires, err = time.Parse(time.DateOnly, n.Value); err != nil {
					p.fault(at(n), "expires %q is not a day like 2027-06-30", shorten(n.Value))
				}
			}, false},
			"from": {func(n *yaml.Node) {
				if n = p.scalar(n, "from"); n == nil {
					return
				}
				switch e.From = From(n.Value); e.From {
				case FromLoopback, FromPrivate, FromAny:
				default:
					p.fault(at(n), "from %q is none of loopback, private, any", shorten(n.Value))
				}
			}, false},
		})
		if e.Port == (record.Port{}) {
			return
		}
		if old, twice := seen[e.Port]; twice {
			p.fault(where, "port %v is expected twice, first in line %d", e.Port, old.line)
			return
		}
		seen[e.Port] = where
		h.Expect = append(h.Expect, e)
	})
}

// checkScope holds every written address against the lists.
func (p *parser) checkScope(inv *Inventory) {
	for i, a := range inv.Allow {
		for _, x := range inv.Exclude {
			if x.Bits() <= a.Bits() && x.Contains(a.Addr()) {
				p.fault(p.allowAt[i], "nothing is left of %v: exclude has %v", a, x)
			}
		}
	}
	if len(inv.Allow) == 0 {
		return // said already, and once is enough
	}
	w, err := scope.New(scope.Config{Allow: inv.Allow, Exclude: inv.Exclude})
	if err != nil {
		p.fault(place{}, "%v", err)
		return
	}
	for _, h := range inv.Hosts {
		for _, a := range h.Addresses {
			if err := w.Check(a); err != nil {
				p.fault(h.places[a.String()], "%s: address %v", label(h), err)
			}
		}
	}
}

// checkOverlap holds the hosts against each other.
func (p *parser) checkOverlap(inv *Inventory) {
	byName := make(map[string]Host)
	owners := make(map[string]Host)
	for _, h := range inv.Hosts {
		if key := strings.ToLower(h.Name); key != "" {
			if other, twice := byName[key]; twice {
				p.fault(h.place, "two hosts are called %s, the other in line %d", h.Name, other.place.line)
			} else {
				byName[key] = h
			}
		}
		for key, where := range h.places {
			if other, taken := owners[key]; taken {
				p.fault(where, "%s overlaps %s: both have %s, the other in line %d", label(h), label(other), key, other.places[key].line)
			} else {
				owners[key] = h
			}
		}
	}
}

func label(h Host) string {
	if h.Name == "" {
		return fmt.Sprintf("the host in line %d", h.place.line)
	}
	return "host " + h.Name
}
