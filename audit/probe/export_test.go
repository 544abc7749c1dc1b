package probe

import "time"

// The pure parts, for tests of their own.

type RTT struct{ r rtt }

func (r *RTT) Sample(d time.Duration)      { r.r.sample(d) }
func (r *RTT) Timeout(n int) time.Duration { return r.r.timeout(n) }

type Window struct{ w window }

func NewWindow(limit int) *Window { return &Window{newWindow(limit)} }
func (w *Window) Opened()         { w.w.opened() }
func (w *Window) Lost()           { w.w.lost() }
func (w *Window) Size() int       { return int(w.w.size) }

type Pacer struct{ p pacer }

func NewPacer(rate float64) *Pacer  { return &Pacer{newPacer(rate)} }
func (p *Pacer) At() time.Time      { return p.p.at() }
func (p *Pacer) Take(now time.Time) { p.p.take(now) }
