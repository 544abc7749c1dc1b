package probe_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"postern.example/audit/probe"
	"postern.example/audit/scope"
)

// late is a context whose deadline has come, a moment before it says so.
type late struct {
	context.Context
	end time.Time
}

func (l late) Deadline() (time.Time, bool) { return l.end, true }

// An attempt that the deadline of the run cut short was not silent: it did not
// get its full time, and its port is not known. A dialer reports both alike.
func TestDeadlineIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1500 * time.Millisecond // in the middle of second attempts
		jobs := []probe.Job{{Target: targets(t, "10.0.0.1")[0], Ports: ports(1, 8)}}
		for name, begin := range map[string]func() (context.Context, context.CancelFunc){
			"done": func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), limit) },
			"a moment before": func() (context.Context, context.CancelFunc) {
				return late{t.Context(), time.Now().Add(limit)}, func() {}
			},
		} {
			ctx, cancel := begin()
			got := run(t, ctx, probe.Config{InFlight: 64, Dial: func(ctx context.Context, _ scope.Target, _ uint16, timeout time.Duration) (netip.AddrPort, error) {
				// What the real dialer does: the nearer of both times, and one
				// error for either.
				end, _ := ctx.Deadline()
				<-time.After(max(1, min(timeout, time.Until(end)))) // by the clock of the bubble
				return netip.AddrPort{}, &scope.Failure{Cause: scope.TimedOut, Err: errors.New("made up")}
			}}, jobs)[0]
			cancel()
			if len(got) != 0 {
				t.Errorf("%s: %v", name, got)
			}
		}
	})
}
