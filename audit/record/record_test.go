package record_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/audit/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParsePort(t *testing.T) {
	for in, want := range map[string]record.Port{
		"1/tcp":     {Number: 1, Proto: record.TCP},
		"65535/udp": {Number: 65535, Proto: record.UDP},
	} {
		got, err := record.ParsePort(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("ParsePort(%q) = %v, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{
		"25":             "no protocol",
		"25/TCP":         "neither tcp nor udp",
		"25/sctp":        "neither tcp nor udp",
		"025/tcp":        "leading zero",
		"0/tcp":          "outside",
		"65536/tcp":      "outside",
		"-1/tcp":         "not a number",
		"+1/tcp":         "not a number",
		"１/tcp":          "not a number",
		" 1/tcp":         "not a number",
		"/tcp":           "missing",
		"":               "no protocol",
		"1\x1b[31m/tcp":  `\x1b`,
		"99999999999999": "no protocol",
	} {
		if _, err := record.ParsePort(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePort(%q): %v, want %q", in, err, want)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for in, want := range map[string]record.Ports{
		"22":                   {TCP: record.PortSet{{First: 22, Last: 22}}},
		"80,22":                {TCP: record.PortSet{{First: 22, Last: 22}, {First: 80, Last: 80}}},
		"1-3,4,3-9":            {TCP: record.PortSet{{First: 1, Last: 9}}},
		"22/tcp,53/udp":        {TCP: record.PortSet{{First: 22, Last: 22}}, UDP: record.PortSet{{First: 53, Last: 53}}},
		"1-65535, 100-200/udp": {TCP: record.PortSet{{First: 1, Last: 65535}}, UDP: record.PortSet{{First: 100, Last: 200}}},
	} {
		got, err := record.ParsePorts(in)
		if err != nil {
			t.Errorf("ParsePorts(%q): %v", in, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("ParsePorts(%q):\n%s", in, d)
		}
	}
	for in, want := range map[string]string{
		"":                         "missing",
		"22,":                      "missing",
		"9-1":                      "backwards",
		"1-":                       "missing",
		"1-2-3":                    "not a number",
		"all":                      "not a number",
		"1/2/udp":                  "neither",
		strings.Repeat("1,", 40e3): "longer",
	} {
		if _, err := record.ParsePorts(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePorts(%.20q): %v, want %q", in, err, want)
		}
	}
}

func TestWithout(t *testing.T) {
	for _, c := range []struct{ from, take, want string }{
		{"1-65535", "22,443", "1-21,23-442,444-65535"},
		{"1-65535", "1-65535", ""},
		{"1-65535", "1,65535", "2-65534"},
		{"1-10,20-30", "5-25", "1-4,26-30"},
		{"1-10,20-30", "11-19,31", "1-10,20-30"},
		{"5", "1-10", ""},
		{"65535", "65534", "65535"},
		{"1-10,20-30,40", "2-3,5,22-29,40-50", "1,4,6-10,20-21,30"},
	} {
		from, err := record.ParsePorts(c.from)
		if err != nil {
			t.Fatal(err)
		}
		take, err := record.ParsePorts(c.take)
		if err != nil {
			t.Fatal(err)
		}
		if got := from.TCP.Without(take.TCP).String(); got != c.want {
			t.Errorf("%s without %s is %s, want %s", c.from, c.take, got, c.want)
		}
	}
}

// A set built from ranges holds exactly the ports of the ranges.
func FuzzPortSet(f *testing.F) {
	f.Add(uint16(1), uint16(10), uint16(5), uint16(20), uint16(10))
	f.Add(uint16(1), uint16(9), uint16(10), uint16(65535), uint16(0))
	f.Fuzz(func(t *testing.T, a, b, c, d, probe uint16) {
		x := record.PortRange{First: min(a, b), Last: max(a, b)}
		y := record.PortRange{First: min(c, d), Last: max(c, d)}
		s := record.NewPortSet(x, y)
		in := func(r record.PortRange) bool { return r.First <= probe && probe <= r.Last }
		if got, want := s.Contains(probe), in(x) || in(y); got != want {
			t.Fatalf("%v contains %d: %v, want %v", s, probe, got, want)
		}
		n, last := 0, -1
		for p := range s.All() {
			if int(p) <= last {
				t.Fatalf("%v yields %d after %d", s, p, last)
			}
			last = int(p)
			n++
		}
		if n != s.Len() {
			t.Fatalf("%v yields %d ports and has %d", s, n, s.Len())
		}
		if more := s.Add(probe); !more.Contains(probe) || more.Len() < s.Len() {
			t.Fatalf("%v with %d is %v", s, probe, more)
		}
		only, other := record.NewPortSet(x), record.NewPortSet(y)
		for _, pair := range [][2]record.PortSet{{only, other}, {other, only}, {s, only}, {s, record.NewPortSet(record.PortRange{First: probe, Last: probe})}, {s, nil}, {only, s}} {
			left := pair[0].Without(pair[1])
			if got, want := left.Contains(probe), pair[0].Contains(probe) && !pair[1].Contains(probe); got != want {
				t.Fatalf("%v without %v is %v, which contains %d: %v", pair[0], pair[1], left, probe, got)
			}
			if !slices.Equal(left, record.NewPortSet(left...)) {
				t.Fatalf("%v without %v is %v, which is out of order", pair[0], pair[1], left)
			}
		}
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"plain text, ünïcödé 漢字":  "plain text, ünïcödé 漢字",
		"\x1b[31mred\x1b[0m":      `\x1b[31mred\x1b[0m`,
		"one\ntwo\r\nthree\ttabs": `one\x0atwo\x0d\x0athree\x09tabs`,
		"gnp\u202eexe.":           `gnp\u202eexe.`,
		"zero\u200bwidth\ufeff":   `zero\u200bwidth\ufeff`,
		"csi \u009b31m":           `csi \x9b31m`,
		"line\u2028sep":           `line\u2028sep`,
		"bad \xff byte":           `bad \xff byte`,
		"tag \U000e0041":          `tag \U000e0041`,
		"nul\x00del\x7f":          `nul\x00del\x7f`,
	} {
		if got := record.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;title\x07\u2066")
	f.Fuzz(func(t *testing.T, s string) {
		got := record.Clean(s)
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
				t.Fatalf("Clean(%q) keeps %U", s, r)
			}
		}
		if again := record.Clean(got); again != got {
			t.Fatalf("Clean(%q) = %q, and again %q", s, got, again)
		}
	})
}

// The JSON form is public: these are the keys that others read.
func TestJSONForm(t *testing.T) {
	run := record.Run{
		Version: record.Version,
		Hosts:   []record.HostSummary{{Host: "a", Addresses: []record.AddressSummary{{Address: netip.MustParseAddr("::1")}}}},
		Records: []record.Record{{Host: "a", Port: 25, Proto: record.TCP, State: record.Open}, {Finding: record.Missing}},
	}
	data, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	keys := func(m any) []string {
		var k []string
		for name := range m.(map[string]any) {
			k = append(k, name)
		}
		slices.Sort(k)
		return k
	}
	if d := cmp.Diff([]string{"hosts", "records", "run", "version"}, keys(doc)); d != "" {
		t.Error(d)
	}
	want := []string{"address", "advice", "evidence", "finding", "host", "owner", "port", "proto", "reason", "service", "severity", "state"}
	if d := cmp.Diff(want, keys(doc["records"].([]any)[0])); d != "" {
		t.Error(d)
	}
	var back record.Run
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(run, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if f := run.Findings(); len(f) != 1 || f[0].Finding != record.Missing {
		t.Errorf("findings: %v", f)
	}
}
