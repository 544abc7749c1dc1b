package audit_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern.example/audit"
	"postern.example/audit/record"
)

// ownRules is a firewall on the scanner's side: it keeps our own attempts from
// leaving. 22, 25, 80, 443 and 8080 are open on the host.
const ownRules = `table inet own {
	chain output {
		type filter hook output priority 0;
		tcp dport 22 reject with icmpx type no-route
		tcp dport 25 reject with icmpx type port-unreachable
		tcp dport 443 reject with icmpx type admin-prohibited
		tcp dport 80 reject with tcp reset
		tcp dport 8080 drop
	}
}
`

// What this machine's own firewall says about another host is a failure of ours:
// an open port behind it must not read as filtered, and the run not as complete.
// A reset and a drop cannot be told from the host's, which the package says.
func TestOwnFirewall(t *testing.T) {
	t.Parallel()
	if !inside(t, "ip", "nft") {
		return
	}
	newHost(t)
	sh(t, ownRules, "nft", "-f", "-")
	for _, addr := range []string{host4, host6} {
		t.Run(addr, func(t *testing.T) {
			inv := parse(t, fmt.Sprintf(`version: 1
allow: ['%s']
hosts:
- name: host
  address: '%s'
  ports: {tcp: [20-30, 80, 443, 3001-3003, 8080]}
  expect: [{port: 23/tcp}, {port: 80/tcp}, {port: 443/tcp}, {port: 3001/tcp}, {port: 3002/tcp}, {port: 3003/tcp}, {port: 8080/tcp}]
`, addr, addr))
			run, err := audit.Run(t.Context(), inv, audit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, s := range []string{
				"22/tcp unknown local-failure",
				"23/tcp closed reset missing/medium",
				"25/tcp unknown local-failure",
				"80/tcp closed reset missing/medium",
				"443/tcp unknown local-failure",
				"3001/tcp filtered port-unreachable missing/medium", // the host's own firewall
				"3002/tcp filtered admin-prohibited missing/medium",
				"3003/tcp closed reset missing/medium",
				"8080/tcp filtered no-response missing/medium",
			} {
				want = append(want, "host "+addr+" "+s)
			}
			if d := cmp.Diff(want, briefs(run)); d != "" {
				t.Error(d)
			}
			h := run.Hosts[0]
			if run.Info.Complete || h.Status != record.Partial || h.States[record.Closed] != 11 {
				t.Errorf("%+v, %+v", run.Info, h)
			}
			if !strings.Contains(h.Detail, "3 ports of "+addr+" failed on this side: denied") || !strings.Contains(h.Detail, "this machine's own firewall") {
				t.Errorf("detail %q", h.Detail)
			}
		})
	}
}

// A whole host that the own firewall rejects is unknown, soon.
func TestOwnFirewallRejectsAll(t *testing.T) {
	t.Parallel()
	if !inside(t, "ip", "nft") {
		return
	}
	newHost(t)
	// The kernel holds back messages beyond a rate, even to itself: what would
	// be silence is not what is tested here.
	if err := os.WriteFile("/proc/sys/net/ipv4/icmp_ratemask", []byte("0"), 0o644); err != nil {
		lacks(t, fmt.Sprintf("to lift the limit on ICMP messages: %v", err))
	}
	sh(t, "table inet own { chain output { type filter hook output priority 0; tcp dport 1-65535 reject with icmpx type admin-prohibited; }; }\n", "nft", "-f", "-")
	inv := parse(t, "version: 1\nallow: [10.99.0.0/24]\nhosts: [{name: host, address: "+host4+", ports: {tcp: 1-5000}}]\n")
	run, err := audit.Run(t.Context(), inv, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := run.Hosts[0].States; s[record.Unknown] != 5000 || run.Info.Complete || run.Info.Probed != 0 {
		t.Errorf("%v, %+v", s, run.Info)
	}
}

// The firewall of this very machine is the target's own where this machine is
// the target.
func TestOwnFirewallOnOneself(t *testing.T) {
	t.Parallel()
	if !inside(t, "ip", "nft") {
		return
	}
	sh(t, "", "ip", "link", "set", "lo", "up")
	sh(t, "", "ip", "addr", "add", "10.94.0.1/32", "dev", "lo")
	sh(t, "table inet own { chain input { type filter hook input priority 0; tcp dport 25 reject with icmpx type admin-prohibited; }; }\n", "nft", "-f", "-")
	inv := parse(t, "version: 1\nallow: [127.0.0.0/8, 10.94.0.0/24]\ndefaults: {ports: {tcp: 24-26}}\nhosts: [{name: lo, address: 127.0.0.9, expect: [{port: 25/tcp}]}, {name: own, address: 10.94.0.1, expect: [{port: 25/tcp}]}]\n")
	run, err := audit.Run(t.Context(), inv, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"lo 127.0.0.9 25/tcp filtered admin-prohibited missing/medium", "own 10.94.0.1 25/tcp filtered admin-prohibited missing/medium"}
	if d := cmp.Diff(want, briefs(run)); d != "" || !run.Info.Complete {
		t.Errorf("%s\n%+v", d, run.Info)
	}
}
