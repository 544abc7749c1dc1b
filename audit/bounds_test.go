package audit_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern.example/audit"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// An inventory that was not parsed is no way round: an audit of nothing is an
// error, and not clean.
func TestRunNothing(t *testing.T) {
	at := netip.MustParseAddr("10.0.0.1")
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	for want, inv := range map[string]*audit.Inventory{
		"the inventory has no hosts":    {Allow: allow},
		"host a has no address":         {Allow: allow, Hosts: []audit.Host{{Name: "a", Ports: record.Ports{TCP: record.NewPortSet(record.PortRange{First: 1, Last: 1})}}}},
		"host a has no port to look at": {Allow: allow, Hosts: []audit.Host{{Name: "a", Addresses: []netip.Addr{at}}}},
	} {
		var u *audit.UsageError
		if _, err := audit.Run(t.Context(), inv, audit.Options{}); !errors.As(err, &u) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if _, err := audit.NewPlan(inv, audit.Options{}); !errors.As(err, &u) || err.Error() != want {
			t.Errorf("the plan: %v, want %s", err, want)
		}
	}
}

// A network that cannot be reached, or only in part, does not fill the memory
// with ports that all say the same.
func TestRunUnknownIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		hosts, records, unlisted int
		ports                    string
		answer                   made
	}{
		"no route anywhere": {500, 500, 500 * 999, "tcp: 1-1000", func(netip.Addr, uint16) scope.Cause { return scope.NoRoute }},
		// One port answers; the others meet a failure that is theirs alone.
		"half reached": {20, 20 + 10_000, 20*1999 - 10_000, "tcp: 1-2000", func(_ netip.Addr, port uint16) scope.Cause {
			if port == 7 {
				return scope.Refused
			}
			return scope.SelfConnect
		}},
		"one address": {1, 1 + 1000, 999, "tcp: 1-2000", func(_ netip.Addr, port uint16) scope.Cause {
			if port == 7 {
				return scope.Refused
			}
			return scope.SelfConnect
		}},
		"UDP":               {20, 20 + 10_000, 20*2000 - 10_000, "tcp: 7, udp: 1-2000", func(netip.Addr, uint16) scope.Cause { return scope.Refused }},
		"UDP and no route":  {20, 20, 20 * 2000, "tcp: 7, udp: 1-2000", func(netip.Addr, uint16) scope.Cause { return scope.NoRoute }},
		"less than a bound": {9, 9 + 9*999, 0, "tcp: 7, udp: 1-999", func(netip.Addr, uint16) scope.Cause { return scope.Refused }},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, "version: 1\nallow: [10.0.0.0/16]\ndefaults: {ports: {%s}}\nhosts:\n", c.ports)
			for i := range c.hosts {
				fmt.Fprintf(&b, "- {name: h%d, address: 10.0.%d.%d, expect: [{port: 7/tcp}]}\n", i, i/250, i%250+1)
			}
			inBubble(t, parse(t, b.String()), audit.Options{}, c.answer, func(t *testing.T, run record.Run) {
				if len(run.Records) != c.records {
					t.Errorf("%d records, want %d", len(run.Records), c.records)
				}
				unlisted, unknown, listed, expected := 0, 0, 0, 0
				for _, h := range run.Hosts {
					unlisted += h.Addresses[0].Unlisted
					unknown += h.States[record.Unknown]
				}
				for _, r := range run.Records {
					if r.State == record.Unknown {
						listed++
					}
					if r.Key() == (record.Port{Number: 7, Proto: record.TCP}) {
						expected++
					}
				}
				if unlisted != c.unlisted || unlisted+listed != unknown || expected != c.hosts {
					t.Errorf("%d unknown, %d of them listed, %d not; %d expected", unknown, listed, unlisted, expected)
				}
				var want []string
				if c.unlisted > 0 {
					want = []string{fmt.Sprintf("%d unknown ports are counted, but not listed", c.unlisted)}
				}
				if d := cmp.Diff(want, run.Info.Notes); d != "" || run.Info.Complete {
					t.Errorf("%s%+v", d, run.Info)
				}
			})
		})
	}
}
