package scope_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"postern.example/audit/scope"
)

// extended lays out struct sock_extended_err with the offender behind it.
func extended(origin, kind, code uint8, from netip.Addr) []byte {
	b := make([]byte, 16)
	b[4], b[5], b[6] = origin, kind, code
	switch {
	case from.Is4():
		sa := make([]byte, 16)
		binary.NativeEndian.PutUint16(sa, unix.AF_INET)
		copy(sa[4:], from.AsSlice())
		b = append(b, sa...)
	case from.Is6():
		sa := make([]byte, 28)
		binary.NativeEndian.PutUint16(sa, unix.AF_INET6)
		copy(sa[8:], from.AsSlice())
		b = append(b, sa...)
	}
	return b
}

func TestParseExtendedErr(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for name, c := range map[string]struct {
		level, kind int32
		data        []byte
		want        *scope.ICMP
	}{
		"port-unreachable": {unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_ICMP, 3, 3, four), &scope.ICMP{Type: 3, Code: 3, From: four}},
		"IPv6":             {unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(unix.SO_EE_ORIGIN_ICMP6, 1, 4, six), &scope.ICMP{V6: true, Type: 1, Code: 4, From: six}},
		"no offender":      {unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_ICMP, 3, 13, netip.Addr{}), &scope.ICMP{Type: 3, Code: 13}},
		"local":            {unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_LOCAL, 0, 0, four), nil},
		"short":            {unix.IPPROTO_IP, unix.IP_RECVERR, make([]byte, 15), nil},
		"something else":   {unix.SOL_SOCKET, unix.IP_RECVERR, extended(unix.SO_EE_ORIGIN_ICMP, 3, 3, four), nil},
	} {
		if d := cmp.Diff(c.want, scope.ParseExtendedErr(c.level, c.kind, c.data), same); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func FuzzParseExtendedErr(f *testing.F) {
	f.Add(extended(unix.SO_EE_ORIGIN_ICMP, 3, 3, netip.MustParseAddr("10.0.0.1")))
	f.Add(extended(unix.SO_EE_ORIGIN_ICMP6, 1, 4, netip.MustParseAddr("fd00::1"))[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		if i := scope.ParseExtendedErr(unix.IPPROTO_IP, unix.IP_RECVERR, b); i != nil && len(b) < 16 {
			t.Fatalf("%v from %d bytes", i, len(b))
		}
	})
}
