package audit

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern.example/audit/probe"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// Method is how ports are probed.
type Method string

// The methods of this version: Auto is Connect.
const (
	Auto    Method = "auto"
	Connect Method = "connect"
)

// Options is what may vary between two audits of one inventory. The zero value
// looks at all of it with no limit but the engine's own.
type Options struct {
	// Hosts narrows the audit to the hosts of these names; empty is all. A name
	// that the inventory does not have is a UsageError.
	Hosts []string
	// Ports, if not nil, is what to look at instead of the inventory's ports.
	// Expected ports outside of it are then not judged.
	Ports  *record.Ports
	Method Method // empty is Auto
	// Rate and HostRate bound the attempts a second, over all and for each host;
	// 0 sets no bound.
	Rate, HostRate float64
	// MaxTime bounds the whole run; what was not reached is unknown then. The
	// expected ports of each address go first. 0 sets no bound.
	MaxTime time.Duration
	// Progress, if set, is called now and then by the goroutine of Run.
	Progress func(Progress)
	// Resolver looks up names; nil is the system's.
	Resolver scope.Resolver
	// Now is the clock by which expectations expire; nil is time.Now.
	Now func() time.Time

	dial probe.Dial // set by tests alone; nil connects
}

// Progress is how far a Run is.
type Progress = probe.Progress

// maxRate is more than any machine sends.
const maxRate = 10_000_000

func (o *Options) check() error {
	for name, rate := range map[string]float64{"rate": o.Rate, "host rate": o.HostRate} {
		if rate < 0 || rate > maxRate || math.IsNaN(rate) {
			return usage("%s %v is not between 0 and %d a second", name, rate, maxRate)
		}
	}
	if o.MaxTime < 0 {
		return usage("time limit %v is negative", o.MaxTime)
	}
	switch o.Method {
	case "", Auto, Connect:
	default:
		return usage("method %q is not in this version; it has auto and connect", record.Clean(string(o.Method)))
	}
	if o.Ports != nil && o.Ports.Len() == 0 {
		return usage("the list of ports is empty")
	}
	return nil
}

// selected is a host with what this audit looks at.
type selected struct {
	*Host
	tcp, udp record.PortSet
	expect   map[record.Port]*Expect // those that are looked at
	skipped  int                     // expectations outside Options.Ports
}

// choose applies opts to inv.
func choose(inv *Inventory, opts *Options) ([]selected, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	wanted := make(map[string]bool)
	for _, name := range opts.Hosts {
		wanted[strings.ToLower(name)] = false
	}
	var out []selected
	for i := range inv.Hosts {
		h := &inv.Hosts[i]
		key := strings.ToLower(h.Name)
		if _, ok := wanted[key]; !ok && len(opts.Hosts) > 0 {
			continue
		}
		wanted[key] = true
		s := selected{Host: h, tcp: h.Ports.TCP, udp: h.Ports.UDP, expect: make(map[record.Port]*Expect)}
		if opts.Ports != nil {
			s.tcp, s.udp = opts.Ports.TCP, opts.Ports.UDP
		}
		var tcp, udp []uint16
		for j := range h.Expect {
			e := &h.Expect[j]
			switch p := e.Port; {
			case opts.Ports != nil && p.Proto == record.TCP && !s.tcp.Contains(p.Number),
				opts.Ports != nil && p.Proto == record.UDP && !s.udp.Contains(p.Number):
				s.skipped++
				continue
			case p.Proto == record.TCP:
				tcp = append(tcp, p.Number)
			default:
				udp = append(udp, p.Number)
			}
			s.expect[e.Port] = e
		}
		s.tcp, s.udp = s.tcp.Add(tcp...), s.udp.Add(udp...)
		switch {
		case len(h.Addresses)+len(h.Names) == 0:
			return nil, usage("%s has no address", label(*h))
		case s.tcp.Len()+s.udp.Len() == 0:
			return nil, usage("%s has no port to look at", label(*h))
		}
		out = append(out, s)
	}
	for _, name := range opts.Hosts {
		if !wanted[strings.ToLower(name)] {
			return nil, usage("the inventory has no host %q", record.Clean(name))
		}
	}
	// Parse lets neither this nor what is refused above pass. An inventory that
	// somebody built by hand must not read as clean either.
	if len(out) == 0 {
		return nil, usage("the inventory has no hosts")
	}
	return out, nil
}

// notes says what a reader of the plan or of the result should know.
func notes(inv *Inventory, hosts []selected) []string {
	var out []string
	var public []string
	for _, p := range inv.Allow {
		if scope.ReachOfPrefix(p) == scope.Public {
			public = append(public, p.String())
		}
	}
	if len(public) > 0 {
		out = append(out, fmt.Sprintf("allow holds public addresses (%s): that they are yours to audit is your word alone", list(public, 5)))
	}
	skipped := 0
	for _, h := range hosts {
		skipped += h.skipped
	}
	if skipped > 0 {
		out = append(out, fmt.Sprintf("%s outside the ports that were asked for and not judged", count(skipped, "expected port lies", "expected ports lie")))
	}
	return out
}

// count returns "1 port" or "2 ports".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list joins the first few of s.
func list(s []string, most int) string {
	if len(s) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(s[:most], ", "), len(s)-most)
	}
	return strings.Join(s, ", ")
}

// Plan is what an audit would do.
type Plan struct {
	Version   int           `json:"version"`
	Inventory string        `json:"inventory"`
	Hosts     []PlannedHost `json:"hosts"`
	Allow     []AllowEntry  `json:"allow"`
	Exclude   []string      `json:"exclude"`
	Addresses int           `json:"addresses"` // written ones; names may have more than one each
	Names     int           `json:"names"`     // to be resolved when the audit starts
	Ports     int           `json:"ports"`     // TCP ports to probe, a name counting as one address
	UDP       int           `json:"udp"`       // UDP ports that will be recorded as unknown
	// WorstCase is about how long it takes when nothing answers, see
	// probe.WorstCase, and never more than Options.MaxTime.
	WorstCase time.Duration `json:"worst_case_ns"`
	Notes     []string      `json:"notes,omitempty"`
}

// PlannedHost is one host of a Plan.
type PlannedHost struct {
	Host      string       `json:"host"`
	Owner     string       `json:"owner"`
	Addresses []netip.Addr `json:"addresses"`
	Names     []string     `json:"names"`
	TCP       string       `json:"tcp"` // the ports, as ranges
	UDP       string       `json:"udp"`
	Ports     int          `json:"ports"` // TCP ports of one address
	Expected  int          `json:"expected"`
}

// AllowEntry is one entry of the allowlist.
type AllowEntry struct {
	Prefix netip.Prefix `json:"prefix"`
	Reach  scope.Reach  `json:"reach"`
}

// NewPlan says what Run would do with the same arguments. It is pure: it sends
// nothing, and resolves no name.
func NewPlan(inv *Inventory, opts Options) (Plan, error) {
	hosts, err := choose(inv, &opts)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Version: record.Version, Inventory: inv.File, Notes: notes(inv, hosts), Exclude: []string{}}
	for _, a := range inv.Allow {
		p.Allow = append(p.Allow, AllowEntry{a, scope.ReachOfPrefix(a)})
	}
	for _, x := range inv.Exclude {
		p.Exclude = append(p.Exclude, x.String())
	}
	var ports []int
	for _, h := range hosts {
		n := len(h.Addresses) + len(h.Names)
		p.Hosts = append(p.Hosts, PlannedHost{
			Host: h.Name, Owner: h.Owner,
			Addresses: append([]netip.Addr{}, h.Addresses...), Names: append([]string{}, h.Names...),
			TCP: h.tcp.String(), UDP: h.udp.String(), Ports: h.tcp.Len(), Expected: len(h.expect),
		})
		p.Addresses += len(h.Addresses)
		p.Names += len(h.Names)
		p.Ports += n * h.tcp.Len()
		p.UDP += n * h.udp.Len()
		ports = append(ports, slices.Repeat([]int{h.tcp.Len()}, n)...)
	}
	if p.UDP > 0 {
		p.Notes = append(p.Notes, count(p.UDP, "UDP port is", "UDP ports are")+" not probed: this version probes TCP only, so the run will record them as unknown and be incomplete")
	}
	if p.Names > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s resolved when the audit starts, once, and refused if one answer lies outside the allowlist", count(p.Names, "name is", "names are")))
	}
	p.WorstCase = probe.WorstCase(probe.Config{Rate: opts.Rate, HostRate: opts.HostRate}, ports)
	if opts.MaxTime > 0 {
		p.WorstCase = min(p.WorstCase, opts.MaxTime)
	}
	return p, nil
}
