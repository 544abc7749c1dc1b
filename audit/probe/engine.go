package probe

import (
	"container/heap"
	"context"
	"net/netip"
	"time"

	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// Config is how a Run goes about it. All but Dial may stay zero.
type Config struct {
	Dial Dial
	// Rate and HostRate are attempts a second, over all and for one host. 0 sets
	// no limit but the windows.
	Rate, HostRate float64
	// InFlight and HostInFlight are attempts at once, over all and for one
	// target. 0 means 2048 and 300; InFlight never exceeds what the descriptor
	// limit allows.
	InFlight, HostInFlight int
	// Tries is how often a silent port is tried at most; 0 means 10. It is tried
	// twice unless the target has shown that later attempts can succeed.
	Tries int
	// Progress, if set, is called now and then and once at the end, by the
	// goroutine that called Run. It must return quickly.
	Progress func(Progress)
}

func (c Config) withDefaults() Config {
	if c.InFlight <= 0 {
		c.InFlight = defaultInFlight
	}
	c.InFlight = min(c.InFlight, maxOpen())
	if c.HostInFlight <= 0 {
		c.HostInFlight = defaultInHost
	}
	if c.Tries <= 0 {
		c.Tries = defaultTries
	}
	c.Tries = min(c.Tries, 100)
	return c
}

// Job is a target and the TCP ports to look at. Jobs with the same Host share
// one HostRate.
type Job struct {
	Host   int
	Target scope.Target
	Ports  record.PortSet
	// First are those of Ports that are tried before the others, which follow in
	// ascending order: what a run that is stopped halfway should know by then.
	// What is not in Ports is not tried.
	First record.PortSet
}

// order returns the ports in the order in which they are tried.
func (j Job) order() []record.PortRange {
	rest := j.Ports.Without(j.First)
	return append(j.Ports.Without(rest), rest...)
}

// Result is the final word on one port.
type Result struct {
	Job      int // index of the job
	Port     uint16
	State    record.State
	Evidence record.Evidence
	Answered bool   // the target itself answered, to this attempt
	Detail   string // what failed, for record.LocalFailure
}

// Progress is how far a Run is.
type Progress struct {
	Done, Total int // ports
	Open        int
}

// progressEvery is the least time between two calls of Config.Progress.
const progressEvery = 100 * time.Millisecond

// Run looks at every port of every job and calls emit once for each port, from
// the calling goroutine, in no particular order. When ctx ends it stops at once:
// ports that were not settled by then are not emitted. It returns when the last
// goroutine it started has handed in its result.
func Run(ctx context.Context, cfg Config, jobs []Job, emit func(Result)) {
	cfg = cfg.withDefaults()
	e := &engine{
		cfg:     cfg,
		emit:    emit,
		limit:   float64(cfg.InFlight),
		results: make(chan result, cfg.InFlight),
		pace:    newPacer(cfg.Rate),
	}
	paces := make(map[int]*pacer)
	for i, j := range jobs {
		p := paces[j.Host]
		if p == nil {
			q := newPacer(cfg.HostRate)
			p = &q
			paces[j.Host] = p
		}
		l := &lane{
			job: i, target: j.Target, ports: j.order(), fresh: j.Ports.Len(),
			window: newWindow(cfg.HostInFlight), pace: p, held: make(map[uint16]uint16),
		}
		e.total += l.fresh
		if l.fresh > 0 {
			e.live++
			e.queue(l)
		}
		e.lanes = append(e.lanes, l)
	}
	e.run(ctx)
	e.report(time.Time{})
}

type result struct {
	lane  *lane
	a     attempt
	local netip.AddrPort
	err   error
	took  time.Duration
}

// engine is the state of a Run. It belongs to one goroutine; the others only
// send results.
type engine struct {
	cfg     Config
	emit    func(Result)
	results chan result
	lanes   []*lane

	ready []*lane // take turns
	timed timed   // wait for a time
	live  int     // lanes that are not finished

	inFlight int
	limit    float64 // at most this many in flight; shrinks when the machine runs short
	pace     pacer
	paused   time.Time
	strikes  int

	done, total, open int
	reported          time.Time
}

func (e *engine) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for e.live > 0 && ctx.Err() == nil {
		var alarm <-chan time.Time
		if wake := e.dispatch(ctx); !wake.IsZero() {
			timer.Reset(max(time.Until(wake), 0))
			alarm = timer.C
		}
		select {
		case r := <-e.results:
			e.handle(ctx, r)
			for more := true; more; {
				select {
				case r := <-e.results:
					e.handle(ctx, r)
				default:
					more = false
				}
			}
			e.report(time.Now())
		case <-alarm:
		case <-ctx.Done():
		}
	}
	for e.inFlight > 0 {
		e.handle(ctx, <-e.results)
	}
	for _, l := range e.lanes {
		// Stopped halfway: what was settled but held back is still true.
		e.release(l)
	}
}

// dispatch sends what may be sent now. It returns when to look again, or the
// zero time when only a result can change anything.
func (e *engine) dispatch(ctx context.Context) time.Time {
	for e.inFlight < max(int(e.limit), 1) {
		now := time.Now()
		if e.paused.After(now) {
			return e.paused
		}
		for len(e.timed) > 0 && !e.timed[0].at.After(now) {
			e.ready = append(e.ready, heap.Pop(&e.timed).(waiting).lane)
		}
		if len(e.ready) == 0 {
			if len(e.timed) > 0 {
				return e.timed[0].at
			}
			return time.Time{}
		}
		if t := e.pace.at(); t.After(now) {
			return t
		}
		l := e.ready[0]
		e.ready = e.ready[1:]
		switch what, at := l.look(now); what {
		case idle:
			l.queued = false
		case wait:
			heap.Push(&e.timed, waiting{at, l})
		case send:
			e.pace.take(now)
			l.pace.take(now)
			e.inFlight++
			e.ready = append(e.ready, l)
			e.start(ctx, l, l.take())
		}
	}
	return time.Time{}
}

func (e *engine) start(ctx context.Context, l *lane, a attempt) {
	timeout := l.rtt.timeout(int(a.silent))
	go func() {
		began := time.Now()
		local, err := e.cfg.Dial(ctx, l.target, a.port, timeout)
		e.results <- result{l, a, local, err, time.Since(began)}
	}()
}

func (e *engine) queue(l *lane) {
	if !l.queued && !l.finished {
		l.queued = true
		e.ready = append(e.ready, l)
	}
}

// report calls Config.Progress; the zero time means the last call.
func (e *engine) report(now time.Time) {
	if e.cfg.Progress == nil || !now.IsZero() && now.Sub(e.reported) < progressEvery {
		return
	}
	e.reported = now
	p := Progress{Done: e.done, Total: e.total, Open: e.open}
	if !now.IsZero() {
		for _, l := range e.lanes {
			p.Done += len(l.bench) + len(l.held)
			p.Open += len(l.held)
		}
	}
	e.cfg.Progress(p)
}

// timed is a heap of the lanes that wait, soonest first.
type timed []waiting

type waiting struct {
	at   time.Time
	lane *lane
}

func (t timed) Len() int           { return len(t) }
func (t timed) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timed) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timed) Push(x any)        { *t = append(*t, x.(waiting)) }
func (t *timed) Pop() any {
	old := *t
	w := old[len(old)-1]
	*t = old[:len(old)-1]
	return w
}
