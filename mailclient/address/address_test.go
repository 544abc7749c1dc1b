package address_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"postern.example/mailclient/address"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	domain255 := strings.Join([]string{long(63), long(63), long(63), long(62)}, ".") // 254 octets
	good := []struct{ in, local, domain, out string }{
		{"ada@example.org", "ada", "example.org", ""},
		{"ada@localhost", "ada", "localhost", ""},
		{"a.b+c=d/e@my_host.example", "a.b+c=d/e", "my_host.example", ""},
		{"!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x", ""},
		{`"ada"@x`, "ada", "x", "ada@x"},
		{`"a\da"@x`, "ada", "x", "ada@x"},
		{`"a b"@x`, "a b", "x", ""},
		{`"x> SIZE=1 <y"@d`, "x> SIZE=1 <y", "d", ""},
		{`"a@b"@x`, "a@b", "x", ""},
		{`"a..b"@x`, "a..b", "x", ""},
		{`".a"@x`, ".a", "x", ""},
		{`"a\"b\\c"@x`, `a"b\c`, "x", ""},
		{`""@x`, "", "x", ""},
		{"ada@[127.0.0.1]", "ada", "[127.0.0.1]", ""},
		{"ada@[IPv6:::1]", "ada", "[IPv6:::1]", ""},
		{"ada@[ipv6:2001:db8::1]", "ada", "[ipv6:2001:db8::1]", ""},
		{"ådá@exämple.org", "ådá", "exämple.org", ""},
		{"用户@例子.广告", "用户", "例子.广告", ""},
		{`"用 户"@x`, "用 户", "x", ""},
		{"नि\u200dष@x", "नि\u200dष", "x", ""},
		{long(64) + "@x", long(64), "x", ""},
		{"Ada@EXAMPLE.org", "Ada", "EXAMPLE.org", ""},
		{"1@1", "1", "1", ""},
	}
	for _, c := range good {
		a, err := address.Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		want := c.out
		if want == "" {
			want = c.in
		}
		if a.Local() != c.local || a.Domain() != c.domain || a.String() != want {
			t.Errorf("Parse(%q) = %q %q, String %q; want %q %q %q", c.in, a.Local(), a.Domain(), a, c.local, c.domain, want)
		}
		if a.UTF8() == (len(c.in) == utf8.RuneCountInString(c.in)) {
			t.Errorf("Parse(%q).UTF8() = %v", c.in, a.UTF8())
		}
		if a.IsZero() {
			t.Errorf("Parse(%q) is zero", c.in)
		}
		check(t, a)
	}

	bad := []string{
		"", "a", "@", "a@", "@x", "a@x ", " a@x", "a b@x", "a@x y", "a@@x", "a@x@y",
		".a@x", "a.@x", "a..b@x", "a@.x", "a@x.", "a@x..y", "a@-x", "a@x-", "a@x-.y",
		"<a@x>", "a@x>", "a@x,b@y", "a@x\r\n", "a\r\n@x", "a\x00@x", "a\x1b@x", "a@x\x1b", "a\x7f@x",
		"\"a\r\n\"@x", "\"a\x1b\"@x", "\"a\x00\"@x", `"a`, `"a"`, `"a\`, `"a"b@x`, `a"b"@x`, `"a\é"@x`,
		"a\xff@x", "a@\xff", "\"\xff\"@x", "a\u202eb@x", "a@x\u202e", "\"\u2066\"@x", "a\u0085@x", "a\u2028@x",
		"a\u00a0b@x", "a@x\u3002y", "a@x*y", "a\ufeff@x", "a\u200fb@x",
		long(65) + "@x", `"` + long(65) + `"@x`, "a@" + long(64), "a@" + domain255 + ".aa",
		"ab@" + domain255[:252], // a path of 257 octets
		"a@[", "a@[]", "a@[127.0.0.1", "a@[127.0.0.1]x", "a@[127.0.0]", "a@[127.0.0.01]", "a@[::1]",
		"a@[IPv6:127.0.0.1]", "a@[IPv6:fe80::1%eth0]", "a@[IPv6:]", "a@[x:y]", "a@[" + long(9999),
	}
	for _, in := range bad {
		if a, err := address.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", in, a)
		} else if !printable(err.Error()) {
			t.Errorf("Parse(%q): error %q holds what a terminal obeys", in, err)
		} else if len(err.Error()) > 600 {
			t.Errorf("Parse(%q): error of %d bytes", in, len(err.Error()))
		}
	}
	if _, err := address.Parse("a@" + domain255[:251]); err != nil {
		t.Errorf("a path of 256 octets: %v", err)
	}
}

func TestEqual(t *testing.T) {
	mail := func(s string) address.Address {
		a, err := address.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if mail(`"a"@x`) != mail("a@x") || mail(`"\a.b"@x`) != mail("a.b@x") {
		t.Error("quotes that are not needed make a difference")
	}
	if mail(`"a b"@x`) == mail(`"a  b"@x`) || mail("a@x") == mail("A@x") {
		t.Error("two mailboxes are equal")
	}
}

func TestParsePath(t *testing.T) {
	good := []struct{ in, out, rest string }{
		{"<>", "", ""},
		{"<> BODY=8BITMIME", "", " BODY=8BITMIME"},
		{"<a@x>", "a@x", ""},
		{"<a@x> SIZE=1 <b@y>", "a@x", " SIZE=1 <b@y>"},
		{"<a@x>\r\n", "a@x", "\r\n"},
		{`<"x> SIZE=1 <y"@d>NOTIFY=NEVER`, `"x> SIZE=1 <y"@d`, "NOTIFY=NEVER"},
		{"<postmaster>", "postmaster", ""},
		{"<PostMaster> X", "postmaster", " X"},
		{"<postmaster@x>", "postmaster@x", ""},
		{"<@a:u@d>", "u@d", ""},
		{"<@a.example,@[127.0.0.1],@[IPv6:::1]:u@d>", "u@d", ""},
		{"<a@[IPv6:::1]>", "a@[IPv6:::1]", ""},
	}
	for _, c := range good {
		a, rest, err := address.ParsePath(c.in)
		if err != nil || a.String() != c.out || rest != c.rest {
			t.Errorf("ParsePath(%q) = %q, %q, %v; want %q, %q", c.in, a, rest, err, c.out, c.rest)
		}
		if a.IsZero() != (c.out == "") {
			t.Errorf("ParsePath(%q).IsZero() = %v", c.in, a.IsZero())
		}
		check(t, a)
	}
	bad := []string{
		"", "a@x", " <a@x>", "<", "<a", "<a@x", "<postmaster", "<root>", "<a@x >", "< a@x>", "< >",
		"<<a@x>>", "<a@x\r\n>", "<@a>", "<@a:>", "<@a,b:u@d>", "<@a,@:u@d>", "<@a:@b:u@d>", "<@:u@d>",
		"<@" + strings.Repeat("a,@", 200) + "a:u@d>", "<a@x,b@y>", `<"a>`, "<a@>",
	}
	for _, in := range bad {
		if a, rest, err := address.ParsePath(in); err == nil {
			t.Errorf("ParsePath(%q) = %q, %q; want an error", in, a, rest)
		}
	}
}

// check holds the two promises of the package for any value it made.
func check(t *testing.T, a address.Address) {
	t.Helper()
	s := a.String()
	if a.Domain() != "" {
		if back, err := address.Parse(s); err != nil || back != a {
			t.Errorf("Parse(%q) = %q, %v; want what it came from", s, back, err)
		}
	}
	if back, rest, err := address.ParsePath("<" + s + ">tail"); err != nil || back != a || rest != "tail" {
		t.Errorf("ParsePath(<%q>) = %q, %q, %v; want what it came from", s, back, rest, err)
	}
	if !printable(s) {
		t.Errorf("%q holds what a terminal obeys", s)
	}
	if len(s)+2 > address.MaxPath || len(a.Local()) > address.MaxLocal || len(a.Domain()) > address.MaxDomain {
		t.Errorf("%q is over a limit", s)
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte("<> ,;", c) >= 0:
			t.Errorf("%q has a bare %q", s, c)
		}
	}
	if quoted {
		t.Errorf("%q leaves a quote open", s)
	}
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f ||
			r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"a@x", `"x> SIZE=1 <y"@d`, `"a\"b"@[IPv6:::1]`, "用户@例子.广告", "<@a,@b:u@d> X=1", "<postmaster>", "<>",
		"\"\\ \"@[127.0.0.1]", "a\u202e@x", "a@x\r\nDATA",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := address.Parse(s); err == nil {
			check(t, a)
			if a.IsZero() {
				t.Errorf("Parse(%q) is zero", s)
			}
		}
		if a, rest, err := address.ParsePath(s); err == nil {
			check(t, a)
			if !strings.HasSuffix(s, ">"+rest) {
				t.Errorf("ParsePath(%q): rest %q", s, rest)
			}
		}
	})
}
