package admit_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"postern.example/smtpd/admit"
)

func list(t testing.TB, text string) *admit.List {
	t.Helper()
	l, err := admit.ParseList("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParseList(t *testing.T) {
	l := list(t, "# ours\r\n192.0.2.7\n\n  10.0.0.0/8 # all of it\n::ffff:198.51.100.0/120\n::ffff:203.0.113.9\n"+
		"2001:db8::/32\nfe80::1%eth0\n192.0.2.7/32\n0.0.0.0/0")
	want := "0.0.0.0/0\n10.0.0.0/8\n192.0.2.7\n198.51.100.0/24\n203.0.113.9\n2001:db8::/32\nfe80::1\n"
	if got := l.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if l.Len() != 7 {
		t.Errorf("%d entries", l.Len())
	}
	var none *admit.List
	if none.Len() != 0 || none.String() != "" || none.Nets() != nil {
		t.Error("a nil list is not empty")
	}
}

func TestParseListFaults(t *testing.T) {
	_, err := admit.ParseList("bad.txt", []byte("192.0.2.7\n192.0.2\n10.0.0.1/8\n\x1b[2J\u202e\n::/129\n1.2.3.4 5.6.7.8\nfe80::%e/10\n"))
	if err == nil {
		t.Fatal("faults were taken")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		`bad.txt:2: "192.0.2" is not`,
		"bad.txt:3: 10.0.0.1/8 has bits after its length (10.0.0.0/8 is meant?)",
		`bad.txt:4: "\x1b[2J\u202e" is not`,
		`bad.txt:5: "::/129" is not`,
		`bad.txt:6: "1.2.3.4 5.6.7.8" is not`,
		`bad.txt:7: "fe80::%e/10" is not`,
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("fault %d is not %q in\n%s", i, want, err)
		}
	}
	if len(lines) != 6 {
		t.Errorf("%d faults:\n%s", len(lines), err)
	}

	_, err = admit.ParseList("many", []byte(strings.Repeat("x\n", 1000)))
	if got := strings.Count(err.Error(), "\n") + 1; got != 51 || !strings.HasSuffix(err.Error(), "many: 950 more faults") {
		t.Errorf("%d lines about 1000 faults:\n%s", got, err)
	}
	if _, err = admit.ParseList("long", []byte(strings.Repeat("x", 1000))); len(err.Error()) > 200 {
		t.Errorf("a long entry is told at length: %s", err)
	}
	if _, err := admit.ParseList("big", make([]byte, admit.MaxList+1)); err == nil {
		t.Error("a list without bounds was taken")
	}
	if _, err := admit.NewList(netip.Prefix{}, netip.MustParsePrefix("10.0.0.1/8")); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("wrong networks: %v", err)
	}
}

func TestMatch(t *testing.T) {
	l := list(t, "10.0.0.0/8\n10.1.0.0/16\n10.1.2.3\n2001:db8::/32\n::/0\n")
	for addr, want := range map[string]string{
		"10.1.2.3":        "10.1.2.3/32",
		"::ffff:10.1.2.3": "10.1.2.3/32",
		"10.1.2.4":        "10.1.0.0/16",
		"10.2.0.1":        "10.0.0.0/8",
		"11.0.0.1":        "",
		"2001:db8::1":     "2001:db8::/32",
		"fe80::1%eth0":    "::/0",
	} {
		p, ok := l.Match(netip.MustParseAddr(addr))
		if ok != (want != "") || ok && p.String() != want {
			t.Errorf("%s: got %v %v, want %s", addr, p, ok, want)
		}
	}
	if _, ok := l.Match(netip.Addr{}); ok {
		t.Error("no address is on the list")
	}
}

// TestLists shows which list wins.
func TestLists(t *testing.T) {
	for _, tt := range []struct{ name, allow, block, addr, want string }{
		{"neither", "", "", "192.0.2.7", ""},
		{"blocked", "", "192.0.2.0/24", "192.0.2.7", "blocked"},
		{"blocked mapped", "", "192.0.2.0/24", "::ffff:192.0.2.7", "blocked"},
		{"allowed inside", "192.0.2.7", "192.0.2.0/24", "192.0.2.7", ""},
		{"blocked inside", "192.0.2.0/24", "192.0.2.7", "192.0.2.7", "blocked"},
		{"both", "192.0.2.0/24", "192.0.2.0/24", "192.0.2.7", ""},
		{"loopback", "", "127.0.0.9", "127.0.0.9", "blocked"},
		{"other family", "", "::/0", "192.0.2.7", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := tracker(t, admit.Config{})
			k.SetLists(list(t, tt.allow), list(t, tt.block))
			s, r := k.Connect(netip.MustParseAddr(tt.addr), start)
			if string(r.Reason) != tt.want || (s == nil) != (tt.want != "") {
				t.Errorf("got %q, want %q", r.Reason, tt.want)
			}
		})
	}
}

// FuzzParseList: no text breaks the parser, a list reads back as it prints, and a
// match is what a search from end to end finds.
func FuzzParseList(f *testing.F) {
	f.Add([]byte("192.0.2.7\n# x\n10.0.0.0/8\n2001:db8::/32 # y\n::ffff:1.2.3.4\n"))
	f.Add([]byte("fe80::1%eth0\r\n::ffff:0:0/96\n::/0\n0.0.0.0/0\n"))
	f.Add([]byte("1.2.3.4/33\n\x00\xff\n#\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := admit.ParseList("f", data)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Fatalf("the fault %q", line)
				}
			}
			return
		}
		again, err := admit.ParseList("f", []byte(l.String()))
		if err != nil || again.String() != l.String() || again.Len() != l.Len() {
			t.Fatalf("%q is read back as %q, %v", l, again, err)
		}
		same, err := admit.NewList(l.Nets()...)
		if err != nil || same.String() != l.String() {
			t.Fatalf("%q is made again as %q, %v", l, same, err)
		}
		nets := l.Nets()
		for _, n := range nets {
			var best netip.Prefix
			for _, m := range nets {
				if m.Contains(n.Addr()) && (!best.IsValid() || m.Bits() > best.Bits()) {
					best = m
				}
			}
			if got, ok := l.Match(n.Addr()); !ok || got != best {
				t.Fatalf("%v matches %v, not %v of %v", n.Addr(), got, best, nets)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	reasons := admit.Reasons()
	for i, r := range reasons {
		if slices.Contains(reasons[:i], r) || strings.Trim(string(r), "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("%q is no label or stands twice", r)
		}
	}
	if got := fmt.Sprint(admit.Refusal{}); got != "" {
		t.Errorf("no refusal says %q", got)
	}
}
