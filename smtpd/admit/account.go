package admit

import (
	"container/heap"
	"encoding/binary"
	"net/netip"
	"time"
)

// key names an address, a network or an allocation: the first 64 bits of an IPv6
// address or the whole of an IPv4 one, cut to bits.
type key struct {
	head uint64
	bits uint8 // 16, 24, 32 of IPv4; 132 (for 32), 148, 164 of IPv6
}

const v6 = 100 // added to the bits of IPv6

// keys are what a client is counted as: itself, its network, its allocation.
type keys struct{ addr, net, origin key }

func keysOf(a netip.Addr) keys {
	if a.Is4() {
		b := a.As4()
		n := uint64(binary.BigEndian.Uint32(b[:]))
		return keys{key{n, 32}, key{n &^ 0xff, 24}, key{n &^ 0xffff, 16}}
	}
	b := a.As16()
	n := binary.BigEndian.Uint64(b[:8])
	return keys{key{n, v6 + 64}, key{n &^ 0xffff, v6 + 48}, key{n &^ 0xffffffff, v6 + 32}}
}

// account is what is remembered about an address or a network.
type account struct {
	key    key
	origin *origin
	live   int // open sessions
	uses   int // of a call or session that keeps it off the shelf

	conns, msgs, rcpts meter
	score              meter
	ban                instant // when the last ban ends or ended
	strikes            int     // bans not forgotten yet
	greeted            instant // until when it need not wait for a greeting

	shelf      *shelf // nil while in use
	turn       uint64 // at which it was put there
	prev, next *account
}

// reset makes a one that has done nothing until the given instant.
func (a *account) reset(at instant) {
	a.conns, a.msgs, a.rcpts, a.score = meter(at), meter(at), meter(at), meter(at)
	a.ban, a.greeted = at, at
}

// forget lets go of strikes, one for each period of good conduct since the last
// ban ended.
func (a *account) forget(at instant, period time.Duration) {
	if a.strikes == 0 || at <= a.ban {
		return
	}
	n := int64(at-a.ban) / int64(period)
	if n >= int64(a.strikes) {
		a.strikes = 0
		return
	}
	a.strikes -= int(n)
	a.ban = a.ban.add(time.Duration(n) * period)
}

// blank tells whether there is nothing about a to be remembered.
func (a *account) blank(at instant) bool {
	return a.uses == 0 && a.strikes == 0 && a.ban <= at && a.greeted <= at &&
		a.conns.empty(at) && a.msgs.empty(at) && a.rcpts.empty(at) && a.score.empty(at)
}

// origin is an allocation: the /16 of IPv4 or the /32 of IPv6 that addresses
// come from. It lives as long as one account does.
type origin struct {
	key      key
	live     int // open sessions
	accounts int
	idle     [2]queue // by shelf
}

// queue is the accounts of one origin on one shelf, the longest unseen first.
type queue struct {
	first, last *account
	len         int
	index       int // in the shelf's heap
}

// shelf keeps accounts that are not in use, at most max. Where one is too many,
// the origin with the most gives its longest unseen. It is a heap of origins.
type shelf struct {
	id      int // which queue of an origin is on it
	max     int
	len     int
	turns   uint64
	origins []*origin
}

func (s *shelf) put(a *account) {
	q := &a.origin.idle[s.id]
	s.turns++
	a.turn = s.turns
	a.shelf, a.prev, a.next = s, q.last, nil
	if q.last != nil {
		q.last.next = a
	} else {
		q.first = a
	}
	q.last = a
	q.len++
	s.len++
	if q.len == 1 {
		heap.Push(s, a.origin)
	} else {
		heap.Fix(s, q.index)
	}
}

func (s *shelf) take(a *account) {
	q := &a.origin.idle[s.id]
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		q.first = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		q.last = a.prev
	}
	a.shelf, a.prev, a.next = nil, nil, nil
	q.len--
	s.len--
	if q.len == 0 {
		heap.Remove(s, q.index)
	} else {
		heap.Fix(s, q.index)
	}
}

// victim is who has to go, or nil while there is room.
func (s *shelf) victim() *account {
	if s.len <= s.max {
		return nil
	}
	return s.origins[0].idle[s.id].first
}

// Len implements heap.Interface, as do the next four.
func (s *shelf) Len() int { return len(s.origins) }

func (s *shelf) Less(i, j int) bool {
	a, b := &s.origins[i].idle[s.id], &s.origins[j].idle[s.id]
	if a.len != b.len || a.len == 0 {
		return a.len > b.len
	}
	return a.first.turn < b.first.turn
}

func (s *shelf) Swap(i, j int) {
	s.origins[i], s.origins[j] = s.origins[j], s.origins[i]
	s.origins[i].idle[s.id].index = i
	s.origins[j].idle[s.id].index = j
}

func (s *shelf) Push(x any) {
	o := x.(*origin)
	o.idle[s.id].index = len(s.origins)
	s.origins = append(s.origins, o)
}

func (s *shelf) Pop() any {
	last := len(s.origins) - 1
	o := s.origins[last]
	s.origins[last] = nil
	s.origins = s.origins[:last]
	return o
}
