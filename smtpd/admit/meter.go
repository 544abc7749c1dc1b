package admit

import "time"

// instant is a number of nanoseconds since the Tracker's first call. With the
// monotonic clock that time.Now reads, it does not jump.
type instant int64

// span keeps instants so far from the ends of their range that adding a duration
// does not overflow.
const span = 1 << 61

func (i instant) add(d time.Duration) instant { return i + instant(d) }

// meter is a leaky bucket in one number: the instant at which it will be empty.
type meter instant

// level is how much of the period is used up at the given instant.
func (m *meter) level(at instant, period time.Duration) time.Duration {
	used := time.Duration(instant(*m) - at)
	if used <= 0 {
		return 0
	}
	if used > period {
		// Only after the clock was set back.
		*m = meter(at.add(period))
		return period
	}
	return used
}

// cost of n out of limit in a period.
func cost(n, limit int, period time.Duration) time.Duration {
	if limit == unlimited {
		return 0
	}
	return time.Duration(float64(n) / float64(limit) * float64(period))
}

// slack makes room for rounding, so that limit times the cost of one fits.
const slack = 64 * time.Nanosecond

// fits tells whether n more out of limit fit.
func (m *meter) fits(n, limit int, period time.Duration, at instant) bool {
	return limit == unlimited || m.level(at, period)+cost(n, limit, period) <= period+slack
}

// add takes n out of limit, whether they fit or not.
func (m *meter) add(n, limit int, period time.Duration, at instant) {
	if limit != unlimited {
		*m = meter(at.add(min(m.level(at, period)+cost(n, limit, period), period)))
	}
}

func (m *meter) empty(at instant) bool { return instant(*m) <= at }
