package probe

import (
	"context"
	"time"

	"postern.example/audit/record"
)

// handle takes in one result.
func (e *engine) handle(ctx context.Context, r result) {
	l, a := r.lane, r.a
	e.inFlight--
	l.inFlight--
	o := Classify(l.target.Addr(), r.err)
	now := time.Now()
	if end, ok := ctx.Deadline(); o.Kind == Silent && (ctx.Err() != nil || ok && !now.Before(end)) {
		o = Outcome{Kind: Canceled} // it did not get its full time
	}
	l.learn(now, a, o, r.took)
	switch o.Kind {
	case Evident:
		e.works()
		if o.State == record.Open && r.local.Addr() == l.target.Addr() {
			e.hold(l, a, r.local.Port())
		} else {
			e.settle(l, a, o)
		}
	case Silent:
		e.works()
		a.silent++
		a.last = o.Evidence
		switch limit := l.tries(e.cfg.Tries); {
		case int(a.silent) < limit:
			l.retry = append(l.retry, a)
		case limit < e.cfg.Tries && len(l.bench) < maxBench:
			l.bench = append(l.bench, a)
		default:
			e.settle(l, a, o)
		}
	case Ours:
		e.blame(now, l, a, o)
	}
	e.advance(l)
}

// advance moves a lane on after something about it changed.
func (e *engine) advance(l *lane) {
	if l.finished {
		return
	}
	if l.settled() {
		e.unbench(l)
	}
	if l.settled() {
		if l.dead != "" {
			e.abandon(l)
		}
		e.release(l)
		l.finished = true
		e.live--
		return
	}
	e.queue(l)
}

// unbench gives silent ports the attempts that the target has earned since.
func (e *engine) unbench(l *lane) {
	limit := l.tries(e.cfg.Tries)
	keep := l.bench[:0]
	for _, a := range l.bench {
		if int(a.silent) < limit && l.dead == "" {
			l.retry = append(l.retry, a)
		} else {
			keep = append(keep, a)
		}
	}
	l.bench = keep
}

// hold keeps an open port of our own machine back until the lane is done, and
// sends it round again when it turns out to be one of our own attempts.
func (e *engine) hold(l *lane, a attempt, source uint16) {
	if l.mirrored(a.port, source) {
		delete(l.held, source)
		l.retry = append(l.retry, attempt{port: source}, a)
		return
	}
	l.held[a.port] = source
}

// release emits what was held back or benched.
func (e *engine) release(l *lane) {
	for port := range l.held {
		e.settle(l, attempt{port: port}, Outcome{State: record.Open, Evidence: record.SynAck, Answered: true})
	}
	for _, a := range l.bench {
		e.settle(l, a, Outcome{State: record.Filtered, Evidence: a.last})
	}
	l.held, l.bench = nil, nil
}

// blame handles a failure of our own: the attempt goes back, and who shares its
// cause waits.
func (e *engine) blame(now time.Time, l *lane, a attempt, o Outcome) {
	a.fails++
	switch o.Blame {
	case Wall:
		l.dead = o.Detail
	case Address:
		// Attempts that were already on their way fail for the same reason, and
		// that is one failure.
		if !l.paused.After(now) {
			l.strikes++
			l.paused = now.Add(pause(l.strikes))
			l.window.lost()
		}
		if l.strikes >= maxStrikes {
			l.dead = o.Detail
		}
	case Machine:
		if !e.paused.After(now) {
			e.strikes++
			e.paused = now.Add(pause(e.strikes))
			e.limit = max(e.limit/2, 1)
		}
		if e.strikes >= maxStrikes {
			e.giveUp(o.Detail)
		}
	}
	if l.dead == "" && o.Blame != Rule && a.fails < maxFails {
		l.retry = append(l.retry, a)
		return
	}
	e.settle(l, a, o)
}

// works notes that the machine can send.
func (e *engine) works() {
	e.strikes = 0
	e.limit = min(e.limit+1/e.limit, float64(e.cfg.InFlight))
}

// giveUp ends the run for want of means.
func (e *engine) giveUp(why string) {
	for _, l := range e.lanes {
		if l.dead == "" && !l.finished {
			l.dead = why
			e.queue(l)
		}
	}
	for _, l := range e.lanes {
		if l.inFlight == 0 && !l.finished {
			e.advance(l)
		}
	}
}

// abandon makes every port of l that is left unknown.
func (e *engine) abandon(l *lane) {
	o := Outcome{State: record.Unknown, Evidence: record.LocalFailure, Detail: l.dead}
	for _, a := range l.retry {
		e.settle(l, a, o)
	}
	l.retry = nil
	for l.fresh > 0 {
		e.settle(l, attempt{port: l.takeFresh()}, o)
	}
}

func (e *engine) settle(l *lane, a attempt, o Outcome) {
	e.done++
	if o.State == record.Open {
		e.open++
	}
	e.emit(Result{Job: l.job, Port: a.port, State: o.State, Evidence: o.Evidence, Answered: o.Answered, Detail: o.Detail})
}
