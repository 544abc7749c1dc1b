package scope_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/audit/scope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver that answers from a table and counts what it was asked.
type names struct {
	table map[string][]string
	asked atomic.Int64
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.asked.Add(1)
	answers, ok := n.table[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	var addrs []netip.Addr
	for _, a := range answers {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

func wall(t *testing.T, r scope.Resolver, allow []string, exclude ...string) *scope.Wall {
	t.Helper()
	cfg := scope.Config{Resolver: r}
	for _, s := range allow {
		p, err := scope.ParseAllow(s)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Allow = append(cfg.Allow, p)
	}
	for _, s := range exclude {
		p, err := scope.ParseExclude(s)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Exclude = append(cfg.Exclude, p)
	}
	w, err := scope.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestParseAllow(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.0/8":          "127.0.0.0/8",
		"10.20.0.7":            "10.20.0.7/32",
		"::1/128":              "::1/128",
		"fd00:1::/64":          "fd00:1::/64",
		"2001:db8::/32":        "2001:db8::/32",
		"::ffff:10.0.0.1":      "10.0.0.1/32",
		"2001:500:88:200::/64": "2001:500:88:200::/64",
	} {
		p, err := scope.ParseAllow(in)
		if err != nil || p.String() != want {
			t.Errorf("ParseAllow(%q) = %v, %v", in, p, err)
		}
	}
	for in, want := range map[string]string{
		"0.0.0.0/0":              "at most a /8",
		"8.0.0.0/7":              "at most a /8",
		"::/0":                   "at most a /32",
		"fd00::/31":              "at most a /32",
		"10.0.0.1/24":            "bits set behind",
		"fe80::1%eth0":           "zone",
		"fe80::%eth0/64":         "not a prefix",
		"::ffff:10.0.0.0/104":    "IPv4 written as IPv6",
		"169.254.169.254":        "never contacted",
		"169.254.169.0/24":       "never contacted",
		"0.0.0.0/8":              "never contacted",
		"224.0.0.0/8":            "never contacted",
		"255.255.255.255":        "never contacted",
		"64:ff9b::/96":           "never contacted",
		"2002:a00::/32":          "never contacted",
		"2001:0:1::/48":          "never contacted",
		"::127.0.0.1":            "never contacted",
		"fd00::200:5efe:a00:1":   "never contacted",
		"fd00:ec2::254":          "never contacted",
		"mail.example":           "neither a prefix",
		"10.0.0.0/33":            "not a prefix",
		"010.0.0.1":              "neither a prefix",
		"10.0.0.0/8/8":           "not a prefix",
		"":                       "neither a prefix",
		"1\x1b[2J":               `\x1b`,
		"10.0.0.0/-1":            "not a prefix",
		"::1%lo":                 "zone",
		"10.20.0.0/24 ":          "not a prefix",
		"ffff::/32":              "multicast",
		"::ffff:0:0:0/96":        "never contacted",
		"::ffff:169.254.169.254": "never contacted",
	} {
		if p, err := scope.ParseAllow(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAllow(%q) = %v, %v; want %q", in, p, err, want)
		}
	}
	if _, err := scope.New(scope.Config{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}); err == nil {
		t.Error("New takes what ParseAllow refuses")
	}
}

func TestCheck(t *testing.T) {
	w := wall(t, nil, []string{"127.0.0.0/8", "::1", "10.0.0.0/8", "169.0.0.0/8", "100.0.0.0/8", "2001:db8::/32", "fd00::/32"},
		"10.20.0.7", "10.66.0.0/16", "2001:db8:dead::/48")
	for _, in := range []string{"127.0.0.1", "127.255.255.254", "::1", "10.20.0.8", "::ffff:10.20.0.8", "2001:db8::1", "169.253.0.1", "fd00::1"} {
		if err := w.Check(netip.MustParseAddr(in)); err != nil {
			t.Errorf("Check(%s): %v", in, err)
		}
		target, err := w.Target(netip.MustParseAddr(in))
		if err != nil || target.Addr() != netip.MustParseAddr(in).Unmap() {
			t.Errorf("Target(%s) = %v, %v", in, target, err)
		}
	}
	for in, want := range map[string]string{
		"10.20.0.7":               "excluded by 10.20.0.7/32",
		"::ffff:10.20.0.7":        "excluded by 10.20.0.7/32",
		"10.66.1.1":               "excluded by 10.66.0.0/16",
		"2001:db8:dead::1":        "excluded",
		"11.0.0.1":                "outside the allowlist",
		"8.8.8.8":                 "outside the allowlist",
		"::ffff:8.8.8.8":          "outside the allowlist",
		"::2":                     "never contacted",
		"169.254.169.254":         "never contacted",
		"::ffff:169.254.169.254":  "never contacted",
		"100.100.100.200":         "never contacted",
		"2001:db8::1%eth0":        "zone",
		"2001:db8::5efe:7f00:1":   "ISATAP",
		"0.0.0.0":                 "never contacted",
		"::":                      "never contacted",
		"64:ff9b::7f00:1":         "NAT64",
		"2002:7f00:1::":           "6to4",
		"2001:0:7f00:1::":         "Teredo",
		"::7f00:1":                "IPv4-compatible",
		"::ffff:0:7f00:1":         "IPv4-translated",
		"239.1.2.3":               "multicast",
		"255.255.255.255":         "broadcast",
		"fd00:0:5:0:0:5efe:a00:1": "ISATAP",
	} {
		err := w.Check(netip.MustParseAddr(in))
		var r *scope.Refusal
		if !errors.As(err, &r) || !strings.Contains(err.Error(), want) {
			t.Errorf("Check(%s): %v, want %q", in, err, want)
		}
		if target, err := w.Target(netip.MustParseAddr(in)); err == nil || target != (scope.Target{}) {
			t.Errorf("Target(%s) = %v, %v", in, target, err)
		}
	}
	if err := w.Check(netip.Addr{}); err == nil {
		t.Error("Check takes the zero address")
	}
	empty := wall(t, nil, nil)
	if err := empty.Check(netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("an empty allowlist allows loopback")
	}
}

func TestResolve(t *testing.T) {
	r := &names{table: map[string][]string{
		"one.example":   {"10.0.0.1"},
		"two.example":   {"fd00::2", "10.0.0.2", "::ffff:10.0.0.2"},
		"half.example":  {"10.0.0.3", "8.8.8.8"},
		"meta.example":  {"169.254.169.254"},
		"excl.example":  {"10.20.0.7"},
		"none.example":  {},
		"ONE.example.":  {"10.9.9.9"},
		"rebind.":       {"::ffff:127.0.0.1"},
		"zoned.example": {"fd00::1%lo"},
	}}
	for i := range 65 {
		r.table["many.example"] = append(r.table["many.example"], fmt.Sprintf("10.1.0.%d", i+1))
	}
	w := wall(t, r, []string{"10.0.0.0/8", "fd00::/32"}, "10.20.0.7")
	for name, want := range map[string]string{
		"one.example": "[10.0.0.1]",
		"two.example": "[10.0.0.2 fd00::2]",
	} {
		got, err := w.Resolve(t.Context(), name)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("Resolve(%s) = %v, %v", name, got, err)
		}
	}
	// The name moves; the answer does not, in whichever spelling.
	r.table["one.example"] = []string{"10.7.7.7"}
	for _, name := range []string{"one.example", "ONE.example."} {
		got, err := w.Resolve(t.Context(), name)
		if err != nil || fmt.Sprint(got) != "[10.0.0.1]" {
			t.Errorf("Resolve(%s) again = %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"half.example":  "half.example is 8.8.8.8: outside the allowlist",
		"meta.example":  "never contacted",
		"excl.example":  "excluded by",
		"none.example":  "no address",
		"gone.example":  "no such host",
		"many.example":  "more than 64",
		"rebind.":       "outside the allowlist",
		"zoned.example": "zone",
		"127.1":         "ends in a number",
		"0x7f.1":        "ends in a number",
		"mail.0xff":     "ends in a number",
		"2130706433":    "ends in a number",
		"a..b":          "empty",
		"-a.example":    "hyphen",
		"a b.example":   "no letter",
		"a\x1b.example": `\x1b`,
		"bü.example":    "xn--",
		"":              "empty",
		".":             "empty",
	} {
		if got, err := w.Resolve(t.Context(), name); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%q) = %v, %v; want %q", name, got, err, want)
		}
	}
	if err := scope.CheckName(strings.Repeat("a.", 127) + "a"); err == nil {
		t.Error("CheckName takes 255 characters")
	}
}

// Many askers, one question: and all get its answer.
func TestResolveOnce(t *testing.T) {
	r := &names{table: map[string][]string{"a.example": {"10.0.0.1"}}}
	w := wall(t, r, []string{"10.0.0.0/8"})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			got, err := w.Resolve(t.Context(), "a.example")
			if err != nil || len(got) != 1 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the resolver was asked %d times", n)
	}
}

func TestReach(t *testing.T) {
	for in, want := range map[string]scope.Reach{
		"127.0.0.1": scope.Loopback, "::1": scope.Loopback, "::ffff:127.9.9.9": scope.Loopback,
		"10.1.1.1": scope.Private, "fd00::1": scope.Private, "100.64.0.1": scope.Private, "192.0.2.9": scope.Private,
		"8.8.8.8": scope.Public, "2600::1": scope.Public,
	} {
		if got := scope.ReachOf(netip.MustParseAddr(in)); got != want {
			t.Errorf("ReachOf(%s) = %s", in, got)
		}
	}
	for in, want := range map[string]scope.Reach{
		"127.0.0.0/8": scope.Loopback, "::1/128": scope.Loopback, "10.0.0.0/8": scope.Private, "fd12::/32": scope.Private,
		"192.168.4.0/24": scope.Private, "192.0.0.0/8": scope.Public, "198.51.100.7/32": scope.Private, "172.0.0.0/8": scope.Public,
	} {
		if got := scope.ReachOfPrefix(netip.MustParsePrefix(in)); got != want {
			t.Errorf("ReachOfPrefix(%s) = %s", in, got)
		}
	}
}

// Whatever comes out of Target was allowed, and no IPv4 address hides in it.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1", "fd00::5efe:a00:1", "10.66.0.1"} {
		b := netip.MustParseAddr(s).AsSlice()
		f.Add(b)
	}
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/32")}
	exclude := netip.MustParsePrefix("10.66.0.0/16")
	w, err := scope.New(scope.Config{Allow: allow, Exclude: []netip.Prefix{exclude}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		target, err := w.Target(a)
		if err != nil {
			return
		}
		got := target.Addr()
		inside := slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(got) })
		if !inside || exclude.Contains(got) || got.Is4In6() || got.Zone() != "" {
			t.Fatalf("%v became %v", a, got)
		}
	})
}

func TestRefusalText(t *testing.T) {
	r := &scope.Refusal{Name: "evil\x1b[2J", Addr: netip.MustParseAddr("8.8.8.8"), Reason: "outside"}
	if d := cmp.Diff(`evil\x1b[2J is 8.8.8.8: outside`, r.Error()); d != "" {
		t.Error(d)
	}
}
