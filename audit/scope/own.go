package scope

import (
	"net"
	"net/netip"
	"sync"
)

// own knows the addresses of this machine, as they were at the first question.
// Its zero value works.
type own struct {
	once  sync.Once
	addrs map[netip.Addr]bool
}

// has reports whether a is an address of this machine.
func (o *own) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	o.once.Do(func() {
		o.addrs = make(map[netip.Addr]bool)
		// Without the list there is still each socket's own address, which is
		// the one that our kernel's messages come from.
		all, _ := net.InterfaceAddrs()
		for _, i := range all {
			if n, ok := i.(*net.IPNet); ok {
				if a, ok := netip.AddrFromSlice(n.IP); ok {
					o.addrs[a.Unmap()] = true
				}
			}
		}
	})
	return o.addrs[a]
}

// ourOwn reports whether m, about target, is the word of this machine and not of
// the network: its sender is this machine, and target is not. local is the
// attempt's own address, invalid if unknown.
//
// One message is excepted. The kernel itself says that a host cannot be reached
// (RFC 792 code 1; RFC 4443, section 3.1, code 3) when nothing on our link
// answers for it, and that is the target's silence. A firewall can be told to say
// the same; it then cannot be told from silence.
func (o *own) ourOwn(target, local netip.Addr, m *ICMP) bool {
	if !m.From.IsValid() || m.Type == typeUnreachable(m.V6) && m.Code == codeNoNeighbour(m.V6) {
		return false
	}
	return (m.From == local || o.has(m.From)) && target != local && !o.has(target)
}

func typeUnreachable(v6 bool) uint8 {
	if v6 {
		return 1
	}
	return 3
}

func codeNoNeighbour(v6 bool) uint8 {
	if v6 {
		return 3
	}
	return 1
}
