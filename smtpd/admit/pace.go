package admit

import "time"

// Pace is the least rate of an upload as a deadline that moves. Every byte that
// arrives moves it on by the time that a byte may take, but never further than
// one stall ahead of the present. A steady upload at the rate or over it
// therefore lives for as long as it likes, one that stops dies after at most a
// stall, and one that crawls dies when it has used up the stall it began with.
//
// The zero value has no deadline. A Pace is not safe for concurrent use.
type Pace struct {
	byteTime float64 // ns
	stall    time.Duration
	deadline time.Time
}

// NewPace starts an upload at now: rate in bytes per second, none if not
// positive, and how long it may stand still, for ever if not positive.
func NewPace(rate int, stall time.Duration, now time.Time) Pace {
	if stall <= 0 {
		return Pace{}
	}
	p := Pace{stall: stall, deadline: now.Add(stall)}
	if rate > 0 {
		p.byteTime = float64(time.Second) / float64(rate)
	}
	return p
}

// Deadline is when the next byte has to be here; zero: whenever it likes. It can
// be given to SetReadDeadline as it is.
func (p *Pace) Deadline() time.Time { return p.deadline }

// Moved says that n bytes have arrived at now, and returns the next deadline. It
// lies in the past when they came too late.
func (p *Pace) Moved(n int, now time.Time) time.Time {
	if p.stall <= 0 || n <= 0 || now.After(p.deadline) {
		return p.deadline
	}
	latest := now.Add(p.stall)
	if credit := float64(n) * p.byteTime; p.byteTime > 0 && credit < float64(latest.Sub(p.deadline)) {
		p.deadline = p.deadline.Add(time.Duration(credit))
	} else {
		p.deadline = latest
	}
	return p.deadline
}
