package probe

import "time"

// The bounds of the time-out of an attempt.
const (
	firstTimeout = time.Second
	minTimeout   = 100 * time.Millisecond
	maxTimeout   = 10 * time.Second
)

// rtt estimates a target's round trip in the manner of RFC 6298, with the
// clamps that fit a scan.
type rtt struct {
	smooth, vary time.Duration
	known        bool
}

func (r *rtt) sample(d time.Duration) {
	if !r.known {
		r.known = true
		r.smooth, r.vary = d, min(max(d, 5*time.Millisecond), 2*time.Second)
		return
	}
	e := d - r.smooth
	r.smooth += e / 8
	r.vary += (max(e, -e) - r.vary) / 4
}

// timeout is how long the n-th attempt at a port waits, from 0. It doubles each
// time: a port that is slower than its target's other ports is not lost that way.
func (r *rtt) timeout(n int) time.Duration {
	t := firstTimeout
	if r.known {
		t = min(max(r.smooth+4*r.vary, minTimeout), maxTimeout)
	}
	for range n {
		t = min(2*t, maxTimeout)
	}
	return t
}

// The window of one target.
const (
	firstWindow     = 10
	firstThreshold  = 75
	minWindow       = 2
	defaultInHost   = 300
	defaultInFlight = 2048
)

// window is how many attempts may be in flight towards one target: slow start
// and congestion avoidance of RFC 5681, with an attempt for a segment.
type window struct {
	size, threshold, limit float64
}

func newWindow(limit int) window {
	l := float64(limit)
	return window{size: min(firstWindow, l), threshold: min(firstThreshold, l), limit: l}
}

// opened counts an attempt that shows no loss.
func (w *window) opened() {
	if w.size < w.threshold {
		w.size++
	} else {
		w.size += 1 / w.size
	}
	w.size = min(w.size, w.limit)
}

// probing counts silence of a target that has never answered. There is nothing
// to learn about its road, and nothing comes back that could fill it; so the
// window opens to the limit, which is a few hundred SYNs a second.
func (w *window) probing() { w.size = min(w.size+1, w.limit) }

// lost counts an attempt that shows a loss.
func (w *window) lost() {
	w.threshold = max(w.size/2, minWindow)
	w.size = w.threshold
}

func (w *window) room(inFlight int) bool { return inFlight < max(int(w.size), 1) }

// pacer holds a rate: in any time t it lets through rate·t events and a burst of
// at most a hundredth of a second's worth (GCRA). The zero pacer lets all through.
type pacer struct {
	interval, slack time.Duration
	next            time.Time // the theoretical time of the next event
}

func newPacer(perSecond float64) pacer {
	if perSecond <= 0 {
		return pacer{}
	}
	// Below one event in an hour the arithmetic would still hold, and nobody
	// would know it from a hang.
	interval := time.Duration(min(float64(time.Second)/perSecond, float64(time.Hour)))
	return pacer{interval: interval, slack: max(10*time.Millisecond-interval, 0)}
}

// at returns when the next event may happen; it may lie in the past.
func (p *pacer) at() time.Time { return p.next.Add(-p.slack) }

func (p *pacer) take(now time.Time) {
	if p.interval == 0 {
		return
	}
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(p.interval)
}

// The bounds of how long we wait after a failure of our own, and how often in a
// row that may happen.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
	maxStrikes = 8
)

// pause is the pause after the n-th failure in a row, from 1.
func pause(n int) time.Duration {
	d := firstPause
	for range n - 1 {
		d = min(2*d, maxPause)
	}
	return d
}

// WorstCase is about how long a Run takes when no port of any target answers,
// the slowest honest case: two attempts at each port, each waiting its full time.
// ports holds the number of ports of each target. A target that answers, but
// slowly and with losses, can take longer; a deadline is what bounds a run.
func WorstCase(cfg Config, ports []int) time.Duration {
	cfg = cfg.withDefaults()
	var r rtt
	var each time.Duration
	for n := range minTries {
		each += r.timeout(n)
	}
	total, longest := 0, time.Duration(0)
	widest := min(cfg.HostInFlight, cfg.InFlight)
	for _, n := range ports {
		total += n
		t := time.Duration(0)
		for left, w := n, min(firstWindow, widest); left > 0; w = min(2*w, widest) {
			t += each
			left -= w
		}
		if cfg.HostRate > 0 {
			t = max(t, seconds(float64(minTries*n)/cfg.HostRate)+each)
		}
		longest = max(longest, t)
	}
	all := time.Duration((total+cfg.InFlight-1)/cfg.InFlight) * each
	if cfg.Rate > 0 {
		all = max(all, seconds(float64(minTries*total)/cfg.Rate)+each)
	}
	return max(longest, all)
}

func seconds(s float64) time.Duration {
	const most = float64(1<<63 - 1)
	return time.Duration(min(s*float64(time.Second), most/2))
}
