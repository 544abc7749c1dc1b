package audit_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"postern.example/audit"
	"postern.example/audit/record"
)

const whole = `version: 1
allow: [127.0.0.0/8, "::1/128", 10.20.0.0/24]    # nothing outside is ever contacted
exclude: [10.20.0.7/32]                          # never contacted, whoever lists it
hosts:
  - name: mail1
    address: mail1.corp.example
    owner: platform
    expect:
      - port: 25/tcp
        service: smtp
        reason: inbound mail
        expires: 2027-06-30
      - port: 2525/tcp
        from: loopback
  - name: web1
    addresses: [10.20.0.8, "::ffff:10.20.0.9", "::1"]
    silent: ok
    ports: {tcp: "22,80-90", udp: [53, 100-200]}
  - name: db_1
    address: 10.20.0.10
    ports:
      tcp: [5432]
defaults:
  ports: {tcp: 1-1024, udp: 161}
`

func TestParse(t *testing.T) {
	got, err := audit.Parse("hosts.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	r := func(a, b uint16) record.PortRange { return record.PortRange{First: a, Last: b} }
	want := &audit.Inventory{
		File:    "hosts.yaml",
		Allow:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.20.0.0/24")},
		Exclude: []netip.Prefix{netip.MustParsePrefix("10.20.0.7/32")},
		Hosts: []audit.Host{
			{
				Name: "mail1", Owner: "platform", Names: []string{"mail1.corp.example"},
				Ports: record.Ports{TCP: record.PortSet{r(1, 1024)}, UDP: record.PortSet{r(161, 161)}},
				Expect: []audit.Expect{
					{Port: record.Port{Number: 25, Proto: record.TCP}, Service: "smtp", Reason: "inbound mail", Expires: time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC), From: audit.FromAny},
					{Port: record.Port{Number: 2525, Proto: record.TCP}, From: audit.FromLoopback},
				},
			},
			{
				Name: "web1", SilentOK: true,
				Addresses: []netip.Addr{netip.MustParseAddr("10.20.0.8"), netip.MustParseAddr("10.20.0.9"), netip.MustParseAddr("::1")},
				Ports:     record.Ports{TCP: record.PortSet{r(22, 22), r(80, 90)}, UDP: record.PortSet{r(53, 53), r(100, 200)}},
			},
			{
				Name: "db_1", Addresses: []netip.Addr{netip.MustParseAddr("10.20.0.10")},
				Ports: record.Ports{TCP: record.PortSet{r(5432, 5432)}, UDP: record.PortSet{r(161, 161)}},
			},
		},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(audit.Host{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// Without ports anywhere, every TCP port is looked at.
func TestParseDefaults(t *testing.T) {
	inv, err := audit.Parse("x", []byte("version: 1\nallow: [127.0.0.1]\nhosts: [{name: a, address: 127.0.0.1}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p := inv.Hosts[0].Ports; p.TCP.Len() != 65535 || p.UDP.Len() != 0 {
		t.Errorf("%v", p)
	}
}

// head is an inventory up to its hosts; they begin in line 4.
const head = "version: 1\nallow: [127.0.0.0/8, '::1']\nhosts:\n"

func TestFaults(t *testing.T) {
	host := func(lines ...string) string {
		return head + "- name: a\n  address: 127.0.0.1\n  " + strings.Join(lines, "\n  ") + "\n"
	}
	for name, c := range map[string]struct {
		in   string
		want []string // each fault, as file:line:column: and a part of the text
	}{
		"empty":               {"", []string{"h.yaml:1:1: empty"}},
		"only a comment":      {"# nothing\n", []string{"h.yaml:1:1: empty"}},
		"no mapping":          {"[1, 2]\n", []string{"h.yaml:1:1: the inventory must be a mapping, not a list"}},
		"null":                {"~\n", []string{"h.yaml:1:1: the inventory must be a mapping, not empty"}},
		"syntax":              {"version: 1\nallow: [\n", []string{"h.yaml:3:1: "}},
		"a tab":               {"version: 1\n\tallow: []\n", []string{"h.yaml:2:1: a tab stands here; YAML indents with spaces"}},
		"a tab after a key":   {"version: 1\nallow:\n\t- ::1\n", []string{"h.yaml:3:1: a tab stands here; YAML indents with spaces"}},
		"a tab after spaces":  {head + "- name: a\n  \taddress: 127.0.0.1\n", []string{"h.yaml:5:3: a tab stands here; YAML indents with spaces"}},
		"a tab after a dash":  {head + "-\tname: a\n  address: 127.0.0.1\n", []string{"h.yaml:4:2: a tab stands here; YAML indents with spaces"}},
		"a tab first of all":  {"\tversion: 1\n", []string{"h.yaml:1:1: a tab stands here; YAML indents with spaces"}},
		"a tab in a text":     {host("owner: |", "", "\ty"), []string{"h.yaml:8:3: a tab stands here; YAML indents with spaces"}},
		"no tab":              {"version: 1\nallow: @x\n", []string{"h.yaml:2:8: found character that cannot start any token"}},
		"not UTF-8":           {"version: 1\nowner: \xff\n", []string{"h.yaml:2:8: byte 0xff"}},
		"escape":              {"version: 1\n# \x1b[2J\n", []string{"h.yaml:2:3: character U+001B"}},
		"bidi":                {"version: 1\n# \u202e\n", []string{"h.yaml:2:3: character U+202E"}},
		"escaped escape":      {host(`owner: "\e[2J"`), []string{`h.yaml:6:10: owner holds characters that cannot be seen: \x1b[2J`}},
		"two documents":       {head + "- {name: a, address: 127.0.0.1}\n---\nversion: 1\n", []string{"h.yaml:5:1: a second document"}},
		"too deep":            {"version: " + strings.Repeat("[", 100) + "\n", []string{"h.yaml:1:42: nested deeper than 32"}},
		"too large":           {strings.Repeat("#", 17<<20), []string{"h.yaml: larger than 16 MiB"}},
		"a tag":               {host("owner: !!binary aGk="), []string{"h.yaml:6:10: the tag !!binary"}},
		"unknown anchor":      {host("owner: *who"), []string{"h.yaml:6:10: unknown anchor"}},
		"an alias in itself":  {"version: 1\nallow: &a [*a]\nhosts: [{name: a, address: 127.0.0.1}]\n", []string{"h.yaml:2:8: an entry of allow must be a value"}},
		"version 2":           {"version: 2\nallow: ['::1']\nhosts: [{name: a, address: '::1'}]\n", []string{`h.yaml:1:10: version "2"`}},
		"version as text":     {"version: '1'\nallow: ['::1']\nhosts: [{name: a, address: '::1'}]\n", []string{`h.yaml:1:10: version "1"`}},
		"nothing required":    {"exclude: []\n", []string{`h.yaml:1:1: the inventory has no "allow"`, `no "hosts"`, `no "version"`}},
		"unknown key":         {host("adress: x", "owner: b"), []string{`h.yaml:6:3: unknown key "adress" in a host; it may hold address,`}},
		"unknown key on top":  {"versions: 1\n" + head + "- {name: a, address: 127.0.0.1}\n", []string{`h.yaml:1:1: unknown key "versions"`}},
		"merge key":           {host("<<: {owner: b}"), []string{`h.yaml:6:3: unknown key "<<"`}},
		"key twice":           {host("owner: a", "owner: b"), []string{`h.yaml:7:3: key "owner" stands twice in a host, first in line 6`}},
		"a key that is a map": {host("{x: y}: z"), []string{"h.yaml:6:3: unknown key"}},
		"empty allow":         {"version: 1\nallow: []\nhosts: [{name: a, address: '::1'}]\n", []string{"h.yaml:2:8: allow is empty"}},
		"allow all":           {"version: 1\nallow: [0.0.0.0/0]\nhosts: [{name: a, address: '::1'}]\n", []string{"h.yaml:2:9: allow: 0.0.0.0/0 is too wide"}},
		"allow no list":       {"version: 1\nallow: ::1\nhosts: [{name: a, address: '::1'}]\n", []string{"h.yaml:2:8: allow must be a list, not text"}},
		"allow the cloud":     {"version: 1\nallow: [169.254.169.254, '::1']\nhosts: [{name: a, address: '::1'}]\n", []string{"h.yaml:2:9: allow: 169.254.169.254/32 is never contacted"}},
		"bad exclude":         {"version: 1\nexclude: [10.0.0.1/8]\nallow: ['::1']\nhosts: [{name: a, address: '::1'}]\n", []string{"h.yaml:2:11: exclude: 10.0.0.1/8 has bits set"}},
		"nothing left":        {"version: 1\nallow: ['::1', 127.0.0.0/24]\nexclude: [127.0.0.0/8]\nhosts: [{name: a, address: '::1'}]\n", []string{"h.yaml:2:16: nothing is left of 127.0.0.0/24: exclude has 127.0.0.0/8"}},
		"excluded":            {"version: 1\nallow: ['::1', 127.0.0.0/24]\nexclude: [127.0.0.7]\nhosts:\n- name: a\n  address: 127.0.0.7\n", []string{"h.yaml:6:12: host a: address 127.0.0.7: excluded by 127.0.0.7/32"}},
		"no hosts":            {"version: 1\nallow: ['::1']\nhosts: []\n", []string{"h.yaml:3:8: hosts is empty"}},
		"hosts no list":       {"version: 1\nallow: ['::1']\nhosts: {}\n", []string{"h.yaml:3:8: hosts must be a list, not a mapping"}},
		"a host as text":      {head + "- web1\n", []string{"h.yaml:4:3: a host must be a mapping, not text"}},
		"no address":          {head + "- name: a\n", []string{"h.yaml:4:3: a host needs an address"}},
		"no name":             {head + "- address: 127.0.0.1\n", []string{`h.yaml:4:3: a host has no "name"`}},
		"two kinds":           {host("addresses: [127.0.0.2]"), []string{"h.yaml:4:3: a host has either"}},
		"no addresses":        {head + "- name: a\n  addresses: []\n", []string{"h.yaml:5:14: addresses is empty"}},
		"outside":             {head + "- name: a\n  address: 8.8.8.8\n", []string{"h.yaml:5:12: host a: address 8.8.8.8: outside the allowlist"}},
		"outside, one of two": {head + "- name: a\n  addresses:\n  - 127.0.0.1\n  - 10.0.0.1\n", []string{"h.yaml:7:5: host a: address 10.0.0.1: outside"}},
		"mapped":              {head + "- name: a\n  address: '::ffff:8.8.8.8'\n", []string{"h.yaml:5:12: host a: address 8.8.8.8: outside"}},
		"zone":                {head + "- name: a\n  address: fe80::1%lo\n", []string{"h.yaml:5:12: address fe80::1%lo has a zone"}},
		"never":               {head + "- name: a\n  address: 169.254.169.254\n", []string{"h.yaml:5:12: host a: address 169.254.169.254: never contacted"}},
		"network as host":     {head + "- name: a\n  address: 127.0.0.0/24\n", []string{"h.yaml:5:12: address \"127.0.0.0/24\" is a network"}},
		"half an address":     {head + "- name: a\n  address: 127.1\n", []string{"h.yaml:5:12: address \"127.1\": the name ends in a number"}},
		"octal address":       {head + "- name: a\n  address: 0177.0.0.1\n", []string{"h.yaml:5:12: address \"0177.0.0.1\""}},
		"bad name":            {head + "- name: a\n  address: a_b..c\n", []string{"h.yaml:5:12: address \"a_b..c\""}},
		"spaces in name":      {head + "- name: a b\n  address: 127.0.0.1\n", []string{"h.yaml:4:9: name \"a b\" may hold"}},
		"number for text":     {host("owner: 12"), []string{"h.yaml:6:10: owner must be text, not a number"}},
		"list for text":       {host("owner: [a]"), []string{"h.yaml:6:10: owner must be a value, but is a list"}},
		"no text":             {host("owner:"), []string{"h.yaml:6:9: owner must be a value, but is empty"}},
		"long text":           {host("owner: " + strings.Repeat("x", 501)), []string{"h.yaml:6:10: owner is longer"}},
		"silent":              {host("silent: yes"), []string{"h.yaml:6:11: silent may only be ok"}},
		"port 0":              {host("ports: {tcp: 0}"), []string{"h.yaml:6:16: tcp ports: port \"0\" is outside 1-65535"}},
		"port 65536":          {host("ports: {tcp: [80, 65536]}"), []string{"h.yaml:6:21: tcp ports: port \"65536\" is outside"}},
		"octal port":          {host("ports: {tcp: 012}"), []string{"h.yaml:6:16: tcp ports: port \"012\" has a leading zero"}},
		"hex port":            {host("ports: {udp: 0x16}"), []string{"h.yaml:6:16: udp ports: port \"0x16\" is not a number"}},
		"backwards":           {host("ports: {tcp: 20-10}"), []string{"h.yaml:6:16: tcp ports: range 20-10 runs backwards"}},
		"sctp":                {host("ports: {sctp: 1}"), []string{"h.yaml:6:11: unknown key \"sctp\" in ports"}},
		"bare ports":          {host("ports: 22"), []string{"h.yaml:6:10: ports must be a mapping, not a number"}},
		"no ports":            {host("ports: {tcp: []}"), []string{"h.yaml:4:3: there is no port to look at"}},
		"no ports by default": {"version: 1\nallow: ['::1']\ndefaults: {ports: {tcp: []}}\nhosts:\n- {name: a, address: '::1'}\n", []string{"h.yaml:5:3: there is no port to look at"}},
		"no ports, by alias":  {"version: 1\nallow: ['::1']\nexclude: &none []\ndefaults:\n  ports:\n    tcp: *none\nhosts:\n- {name: a, address: '::1'}\n", []string{"h.yaml:8:3: there is no port to look at"}},
		"ports of nothing":    {host("ports: {tcp: ''}"), []string{"h.yaml:6:16: tcp ports: a port number is missing"}},
		"ports of null":       {host("ports: {tcp: }"), []string{"tcp ports must be a value, but is empty"}},
		"expect no list":      {host("expect: 25/tcp"), []string{"h.yaml:6:11: expect must be a list, not text"}},
		"expect text":         {host("expect: [25/tcp]"), []string{"h.yaml:6:12: an expectation must be a mapping"}},
		"expect nothing":      {host("expect: [{service: smtp}]"), []string{`h.yaml:6:12: an expectation has no "port"`}},
		"no proto":            {host("expect: [{port: 25}]"), []string{"h.yaml:6:19: port \"25\" has no protocol"}},
		"bad proto":           {host("expect: [{port: 25/sctp}]"), []string{"h.yaml:6:19: protocol \"sctp\""}},
		"expect twice":        {host("expect:", "- port: 25/tcp", "- port: 25/udp", "- port: 25/tcp"), []string{"h.yaml:9:11: port 25/tcp is expected twice, first in line 7"}},
		"bad date":            {host("expect: [{port: 25/tcp, expires: 2027-13-01}]"), []string{"h.yaml:6:36: expires \"2027-13-01\" is not a day"}},
		"date with time":      {host("expect: [{port: 25/tcp, expires: 2027-01-01T10:00:00Z}]"), []string{"h.yaml:6:36: expires"}},
		"from":                {host("expect: [{port: 25/tcp, from: everywhere}]"), []string{"h.yaml:6:33: from \"everywhere\" is none of"}},
		"same name":           {head + "- name: a\n  address: 127.0.0.1\n- name: A\n  address: 127.0.0.2\n", []string{"h.yaml:6:3: two hosts are called A, the other in line 4"}},
		"overlap":             {head + "- name: a\n  address: 127.0.0.1\n- name: b\n  address: 127.0.0.1\n", []string{"h.yaml:7:12: host b overlaps host a: both have 127.0.0.1, the other in line 5"}},
		"overlap, mapped":     {head + "- name: a\n  address: 127.0.0.1\n- name: b\n  address: '::ffff:127.0.0.1'\n", []string{"h.yaml:7:12: host b overlaps host a"}},
		"overlap, name":       {head + "- name: a\n  address: mail.example\n- name: b\n  addresses: [127.0.0.1, MAIL.example.]\n", []string{"h.yaml:7:26: host b overlaps host a: both have mail.example"}},
		"address twice":       {head + "- name: a\n  addresses: ['::1', '0:0::1']\n", []string{"h.yaml:5:22: address ::1 stands twice in one host"}},
		"all at once": {"version: 1\nallow: [10.0.0.0/24]\nextra: 1\nhosts:\n- name: a\n  address: 10.0.1.1\n  expect: [{port: 0/tcp}]\n- name: b\n  address: 10.0.0.1\n- name: c\n  address: 10.0.0.1\n",
			[]string{"h.yaml:3:1: unknown key", "h.yaml:6:12: host a: address 10.0.1.1: outside", "h.yaml:7:19: port \"0\"", "h.yaml:11:12: host c overlaps host b"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := audit.Parse("h.yaml", []byte(c.in))
			var inv *audit.InventoryError
			if !errors.As(err, &inv) {
				t.Fatalf("no fault: %v", err)
			}
			if len(inv.Faults) != len(c.want) {
				t.Fatalf("%d faults, want %d:\n%v", len(inv.Faults), len(c.want), err)
			}
			for i, f := range inv.Faults {
				if !strings.Contains(f.String(), c.want[i]) {
					t.Errorf("fault %d is\n%s\nwant\n%s", i, f, c.want[i])
				}
			}
		})
	}
}

// Aliases are taken as what they stand for, and cannot blow an inventory up.
func TestAliases(t *testing.T) {
	inv, err := audit.Parse("h.yaml", []byte(head+`- name: a
  address: 127.0.0.1
  expect: &smtp
  - {port: 25/tcp, reason: mail}
- name: b
  address: 127.0.0.2
  expect: *smtp
`))
	if err != nil {
		t.Fatal(err)
	}
	if e := inv.Hosts[1].Expect; len(e) != 1 || e[0].Port.Number != 25 || e[0].Reason != "mail" {
		t.Errorf("%v", e)
	}

	var bomb strings.Builder
	bomb.WriteString(head + "- name: a\n  address: 127.0.0.1\n  ports: {tcp: &p [")
	bomb.WriteString(strings.Repeat("1,", 20000))
	bomb.WriteString("1]}\n")
	for i := range 1000 {
		fmt.Fprintf(&bomb, "- {name: h%d, address: 127.0.%d.%d, ports: {tcp: *p}}\n", i, i/250+1, i%250)
	}
	began := time.Now()
	_, err = audit.Parse("h.yaml", []byte(bomb.String()))
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("the bomb gives %v", err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("the bomb took %v", d)
	}
}

func TestManyFaults(t *testing.T) {
	in := head + strings.Repeat("- {}\n", 2000)
	_, err := audit.Parse("evil\x1b[2J\nname", []byte(in))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 51 || !strings.HasPrefix(lines[50], "and 950 more") {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	if !strings.HasPrefix(lines[0], `evil\x1b[2J\x0aname:4:3: `) {
		t.Errorf("the first is %q", lines[0])
	}
}

func TestFiveThousandHosts(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nallow: [10.0.0.0/8]\nhosts:\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "- name: h%d\n  address: 10.1.%d.%d\n  expect:\n", i, i/250, i%250+1)
		for p := range 8 {
			fmt.Fprintf(&b, "  - {port: %d/tcp, service: s, reason: because of that}\n", p+1)
		}
	}
	inv, err := audit.Parse("h.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.Hosts) != 5000 || len(inv.Hosts[4999].Expect) != 8 {
		t.Errorf("%d hosts", len(inv.Hosts))
	}
}

// Whatever is parsed holds what Inventory promises, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(head + "- &h {name: a, address: 127.0.0.1}\n- *h\n"))
	f.Add([]byte("version: 1\nallow: &a [*a]\n? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := audit.Parse("h.yaml", data)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if record.Clean(line) != line {
					t.Fatalf("a fault is %q", line)
				}
			}
			return
		}
		seen := make(map[netip.Addr]bool)
		for _, h := range inv.Hosts {
			if h.Name == "" || len(h.Addresses)+len(h.Names) == 0 {
				t.Fatalf("%+v", h)
			}
			for _, a := range h.Addresses {
				inside := false
				for _, p := range inv.Allow {
					inside = inside || p.Contains(a)
				}
				for _, p := range inv.Exclude {
					inside = inside && !p.Contains(a)
				}
				if !inside || seen[a] {
					t.Fatalf("%v in %+v", a, inv)
				}
				seen[a] = true
			}
		}
	})
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hosts.yaml")
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	inv, err := audit.Load(file)
	if err != nil || inv.File != file {
		t.Fatalf("%v, %v", inv, err)
	}
	if _, err := audit.Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := audit.Load(dir); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: %v", err)
	}
}

// Who may write the inventory may aim the audit.
func TestLoadTrust(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs Unix file modes")
	}
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, at string) {
		t.Helper()
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	loose := filepath.Join(dir, "loose")
	for _, d := range []string{sub, loose} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(sub, "hosts.yaml")
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	link("../sub/hosts.yaml", filepath.Join(loose, "link.yaml"))
	link(filepath.Join(loose, "link.yaml"), filepath.Join(dir, "outer.yaml"))
	link("round.yaml", filepath.Join(dir, "round.yaml"))

	outer := filepath.Join(dir, "outer.yaml")
	if _, err := audit.Load(outer); err != nil {
		t.Errorf("through two links: %v", err)
	}
	if _, err := audit.Load(filepath.Join(dir, "round.yaml")); err == nil {
		t.Error("a link to itself is read")
	}
	chmod(file, 0o646)
	for _, path := range []string{file, outer} {
		if _, err := audit.Load(path); err == nil || !strings.Contains(err.Error(), "everyone may write hosts.yaml") {
			t.Errorf("%s with mode 646: %v", path, err)
		}
	}
	chmod(file, 0o644)
	chmod(sub, 0o757)
	for _, path := range []string{file, outer} {
		if _, err := audit.Load(path); err == nil || !strings.Contains(err.Error(), "everyone may write the folder") {
			t.Errorf("%s in a folder with mode 757: %v", path, err)
		}
	}
	chmod(sub, 0o777|os.ModeSticky)
	if _, err := audit.Load(file); err != nil {
		t.Errorf("in a sticky folder: %v", err)
	}
	chmod(sub, 0o755)
	chmod(loose, 0o777)
	if _, err := audit.Load(outer); err == nil || !strings.Contains(err.Error(), "everyone may write the folder") {
		t.Errorf("through a link in an open folder: %v", err)
	}
	if _, err := audit.Load(file); err != nil {
		t.Errorf("beside an open folder: %v", err)
	}
}
