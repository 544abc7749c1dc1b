package admit

import (
	"maps"
	"time"
)

// Snapshot is the state of a Tracker in numbers.
type Snapshot struct {
	Sessions int // open now
	Peak     int // most that were open at once
	Tracked  int // addresses and networks that are remembered
	Banned   int // of them, banned now
	Allowed  int // entries of the allow list
	Blocked  int // entries of the block list

	Admitted uint64            // connections, since the start
	Bans     uint64            // imposed, since the start
	Evicted  uint64            // forgotten for want of room, since the start
	Refused  map[Reason]uint64 // since the start; every Reason is there
}

// Snapshot looks at the Tracker. The result is the caller's.
func (t *Tracker) Snapshot(now time.Time) Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.instant(now)
	for a := range t.banned {
		t.isBanned(a, at) // those that have ended leave
	}
	s := Snapshot{
		Sessions: t.sessions, Peak: t.peak, Tracked: len(t.accounts), Banned: len(t.banned),
		Allowed: t.allow.Len(), Blocked: t.block.Len(),
		Admitted: t.admitted, Bans: t.bans, Evicted: t.evicted, Refused: map[Reason]uint64{},
	}
	for _, r := range Reasons() {
		s.Refused[r] = 0
	}
	maps.Copy(s.Refused, t.refused)
	return s
}
