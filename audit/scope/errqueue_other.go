//go:build !linux

package scope

import (
	"net/netip"
	"syscall"
)

// errQueue shows ICMP messages on Linux alone; elsewhere it is blind.
type errQueue struct{ fd int }

func (q *errQueue) arm(syscall.RawConn, bool) error { return nil }
func (q *errQueue) blind() bool                     { return true }
func (q *errQueue) read() *ICMP                     { return nil }
func (q *errQueue) local() netip.Addr               { return netip.Addr{} }
func (q *errQueue) close()                          {}
