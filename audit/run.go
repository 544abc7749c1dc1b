package audit

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"postern.example/audit/probe"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// maxResolvers is how many names are looked up at once.
const maxResolvers = 16

// Run audits the hosts of inv. An error means that nothing was contacted but a
// name server: a [*UsageError], or an [*InventoryError] when two hosts turn out
// to be one address. Everything else that goes wrong is in the run, which is
// then not complete. When ctx ends, Run stops at once and returns what it has.
func Run(ctx context.Context, inv *Inventory, opts Options) (record.Run, error) {
	hosts, err := choose(inv, &opts)
	if err != nil {
		return record.Run{}, err
	}
	wall, err := scope.New(scope.Config{Allow: inv.Allow, Exclude: inv.Exclude, Resolver: opts.Resolver})
	if err != nil {
		return record.Run{}, &InventoryError{Faults: []Fault{{File: inv.File, Text: err.Error()}}}
	}
	now := opts.Now
	if now == nil {
		now = time.Now
	}
	r := &runner{inv: inv, opts: &opts, started: now()}
	limited := ctx
	if opts.MaxTime > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, opts.MaxTime)
		defer cancel()
	}
	r.resolve(limited, wall, hosts)
	if err := r.checkOverlap(); err != nil {
		return record.Run{}, err
	}
	r.probe(limited, wall)
	var stop stopped
	switch {
	case ctx.Err() != nil:
		stop = interrupted
	case limited.Err() != nil:
		stop = outOfTime
	}
	return r.result(stop, now()), nil
}

// stopped says whether and why a Run ended before its work did.
type stopped uint8

const (
	interrupted stopped = iota + 1
	outOfTime
)

// runner is one Run.
type runner struct {
	inv     *Inventory
	opts    *Options
	started time.Time
	hosts   []*hostRun
	lanes   []*laneRun // by job of the probe
}

// hostRun is one host on its way through a Run.
type hostRun struct {
	selected
	targets []scope.Target
	refused error // why nothing of it is contacted
	lanes   []*laneRun
}

// laneRun is one address of a host.
type laneRun struct {
	host     *hostRun
	addr     netip.Addr
	answered bool
	settled  int // TCP ports with a result
	failed   int // of these, the ones that failed on our side
	failure  string
	silent   int // of these, the filtered ones
	states   map[record.State]int
	records  []record.Record
	listed   map[record.Port]bool // the expected ports with a record
	unknown  []uint16             // TCP ports that failed on our side and may get a record
	unlisted int
}

// resolve turns every host into targets, a bounded number of names at a time.
func (r *runner) resolve(ctx context.Context, wall *scope.Wall, hosts []selected) {
	slots := make(chan struct{}, maxResolvers)
	var wg sync.WaitGroup
	for _, s := range hosts {
		h := &hostRun{selected: s}
		r.hosts = append(r.hosts, h)
		if len(h.Names) == 0 {
			h.targets, h.refused = targetsOf(ctx, wall, s.Host)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			h.targets, h.refused = targetsOf(ctx, wall, s.Host)
		})
	}
	wg.Wait()
}

// targetsOf returns the targets of h, each once. One that is refused refuses h.
func targetsOf(ctx context.Context, wall *scope.Wall, h *Host) ([]scope.Target, error) {
	var all []scope.Target
	seen := make(map[scope.Target]bool)
	add := func(ts ...scope.Target) {
		for _, t := range ts {
			if !seen[t] {
				seen[t] = true
				all = append(all, t)
			}
		}
	}
	for _, a := range h.Addresses {
		t, err := wall.Target(a)
		if err != nil {
			return nil, err
		}
		add(t)
	}
	for _, name := range h.Names {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", name, err)
		}
		ts, err := wall.Resolve(ctx, name)
		if err != nil {
			return nil, err
		}
		add(ts...)
	}
	return all, nil
}

// checkOverlap refuses an inventory two of whose hosts are one address: whose
// expectations would count then?
func (r *runner) checkOverlap() error {
	owners := make(map[scope.Target]*hostRun)
	e := new(InventoryError)
	for _, h := range r.hosts {
		for _, t := range h.targets {
			other, taken := owners[t]
			if !taken {
				owners[t] = h
				continue
			}
			e.Faults = append(e.Faults, Fault{
				File: r.inv.File, Line: h.place.line, Column: h.place.column,
				Text: fmt.Sprintf("%s overlaps %s: both are %v once resolved, the other in line %d", label(*h.Host), label(*other.Host), t, other.place.line),
			})
		}
	}
	if len(e.Faults) > 0 {
		e.sort()
		return e
	}
	return nil
}

// expectedTCP returns the ports that are looked at first: whether a service that
// people rely on answers is what a run cut short should still be able to say.
func (h *hostRun) expectedTCP() record.PortSet {
	var ranges []record.PortRange
	for p := range h.expect {
		if p.Proto == record.TCP {
			ranges = append(ranges, record.PortRange{First: p.Number, Last: p.Number})
		}
	}
	return record.NewPortSet(ranges...)
}

// probe looks at every TCP port of every target, the expected ones first.
func (r *runner) probe(ctx context.Context, wall *scope.Wall) {
	var jobs []probe.Job
	for i, h := range r.hosts {
		expected := h.expectedTCP()
		for _, t := range h.targets {
			l := &laneRun{host: h, addr: t.Addr(), states: make(map[record.State]int), listed: make(map[record.Port]bool)}
			h.lanes = append(h.lanes, l)
			r.lanes = append(r.lanes, l)
			jobs = append(jobs, probe.Job{Host: i, Target: t, Ports: h.tcp, First: expected})
		}
	}
	cfg := probe.Config{Dial: r.opts.dial, Rate: r.opts.Rate, HostRate: r.opts.HostRate, Progress: r.opts.Progress}
	if cfg.Dial == nil {
		cfg.Dial = probe.Connect(wall)
	}
	probe.Run(ctx, cfg, jobs, func(p probe.Result) { r.lanes[p.Job].take(p, r.started) })
}

// take counts one result and keeps a record of it if it is worth one.
func (l *laneRun) take(p probe.Result, now time.Time) {
	l.settled++
	l.answered = l.answered || p.Answered
	switch p.State {
	case record.Filtered:
		l.silent++
	case record.Unknown:
		l.failed++
		if l.failure == "" {
			l.failure = p.Detail
		}
	}
	l.observe(observed{l.addr, record.Port{Number: p.Port, Proto: record.TCP}, p.State, p.Evidence}, now)
}

// How many unknown ports that nobody expects have a record each, of one address
// and of a whole run: a network that cannot be reached would have millions that
// say the same. All are counted.
const (
	maxUnknown    = 1000
	maxUnknownRun = 10_000
)

// dead reports whether nothing was learned about the address, for failures of
// ours alone. To list its ports would say no more than their number does.
func (l *laneRun) dead() bool { return l.failed > 0 && l.failed == l.settled }

func (l *laneRun) observe(o observed, now time.Time) {
	l.states[o.state]++
	e := l.host.expect[o.port]
	switch {
	case e != nil:
		l.listed[o.port] = true
	case o.state == record.Open:
	case o.state == record.Unknown:
		// Whether it gets a record is known when the others are.
		if l.unlisted++; o.port.Proto == record.TCP && len(l.unknown) < maxUnknown {
			l.unknown = append(l.unknown, o.port.Number)
		}
		return
	default:
		return
	}
	l.records = append(l.records, judge(l.host.Host, e, o, now))
}
