package admit_test

import (
	"testing"
	"time"

	"postern.example/smtpd/admit"
)

func TestPace(t *testing.T) {
	const rate, stall = 500, 3 * time.Minute
	for _, tt := range []struct {
		name  string
		bytes int
		every time.Duration
		dies  time.Duration // about; 0: not within a day
	}{
		{"steady at the rate", 500, time.Second, 0},
		{"steady and coarse", 60_000, 2 * time.Minute, 0},
		{"fast", 1 << 20, time.Second, 0},
		{"at half the rate", 250, time.Second, 2 * stall},
		{"a byte now and then", 1, 10 * time.Second, stall},
		{"bursts with long silence", 1 << 20, 4 * time.Minute, stall},
		{"nothing", 0, time.Second, stall},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := start
			p := admit.NewPace(rate, stall, now)
			for now.Sub(start) < 24*time.Hour {
				next := now.Add(tt.every)
				if next.After(p.Deadline()) {
					break
				}
				now = next
				if d := p.Moved(tt.bytes, now); d != p.Deadline() || d.After(now.Add(stall)) {
					t.Fatalf("deadline %v after %v", d.Sub(now), now.Sub(start))
				}
			}
			died := p.Deadline().Sub(start)
			switch {
			case tt.dies == 0 && now.Sub(start) < 24*time.Hour:
				t.Errorf("died after %v", died)
			case tt.dies != 0 && (died < tt.dies-2*time.Second || died > tt.dies+2*time.Second):
				t.Errorf("died after %v, not %v", died, tt.dies)
			}
		})
	}
}

func TestPaceEdges(t *testing.T) {
	var none admit.Pace
	if !none.Deadline().IsZero() || !none.Moved(1, start).IsZero() {
		t.Error("the zero value has a deadline")
	}
	stall := admit.NewPace(-1, time.Minute, start)
	if got := stall.Moved(1, start.Add(30*time.Second)); got != start.Add(90*time.Second) {
		t.Errorf("without a rate one byte moves the deadline to %v", got.Sub(start))
	}
	p := admit.NewPace(500, time.Minute, start)
	if got := p.Moved(1<<62, start.Add(time.Second)); got != start.Add(61*time.Second) {
		t.Errorf("a huge read moves the deadline to %v", got.Sub(start))
	}
	p = admit.NewPace(500, time.Minute, start)
	if got := p.Moved(1<<20, start.Add(2*time.Minute)); got != start.Add(time.Minute) {
		t.Errorf("bytes that come too late move the deadline to %v", got.Sub(start))
	}
}
