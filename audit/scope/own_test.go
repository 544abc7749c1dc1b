package scope_test

import (
	"net/netip"
	"testing"

	"postern.example/audit/scope"
)

func TestOurOwn(t *testing.T) {
	addr := netip.MustParseAddr
	target, router, local := addr("192.0.2.9"), addr("192.0.2.1"), addr("192.0.2.2")
	target6, local6 := addr("2001:db8::9"), addr("2001:db8::2")
	loop, loop6 := addr("127.0.0.1"), addr("::1")
	v4 := func(code uint8, from netip.Addr) *scope.ICMP { return &scope.ICMP{Type: 3, Code: code, From: from} }
	v6 := func(code uint8, from netip.Addr) *scope.ICMP {
		return &scope.ICMP{V6: true, Type: 1, Code: code, From: from}
	}
	for name, c := range map[string]struct {
		target, local netip.Addr
		m             *scope.ICMP
		want          bool
	}{
		"port-unreachable":              {target, local, v4(3, local), true},
		"admin-prohibited":              {target, local, v4(13, local), true},
		"net-unreachable":               {target, local, v4(0, local), true},
		"from another address of ours":  {target, local, v4(13, loop), true},
		"our address unknown":           {target, netip.Addr{}, v4(13, loop), true},
		"no neighbour":                  {target, local, v4(1, local), false},
		"from the target":               {target, local, v4(3, target), false},
		"from a router":                 {target, local, v4(13, router), false},
		"from nobody":                   {target, local, v4(13, netip.Addr{}), false},
		"from nobody, address unknown":  {target, netip.Addr{}, v4(13, netip.Addr{}), false},
		"about ourselves":               {local, local, v4(13, local), false},
		"about loopback":                {loop, loop, v4(13, loop), false},
		"about another address of ours": {addr("127.0.0.9"), loop, v4(13, loop), false},
		"port-unreachable, IPv6":        {target6, local6, v6(4, local6), true},
		"admin-prohibited, IPv6":        {target6, local6, v6(1, loop6), true},
		"no route, IPv6":                {target6, local6, v6(0, local6), true},
		"no neighbour, IPv6":            {target6, local6, v6(3, local6), false},
		"from the target, IPv6":         {target6, local6, v6(4, target6), false},
	} {
		if got := scope.OurOwn(c.target, c.local, c.m); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
