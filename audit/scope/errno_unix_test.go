//go:build unix

package scope_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"postern.example/audit/scope"
)

// Nothing but what the target or the network did may end as one of the first
// three causes: everything unknown is ours.
func TestCauseOf(t *testing.T) {
	theirs := map[syscall.Errno]scope.Cause{
		unix.ECONNREFUSED: scope.Refused, unix.ECONNRESET: scope.Refused,
		unix.ETIMEDOUT:    scope.TimedOut,
		unix.EHOSTUNREACH: scope.Unreachable, unix.EHOSTDOWN: scope.Unreachable,
	}
	ours := map[syscall.Errno]scope.Cause{
		unix.ENETUNREACH: scope.NoRoute, unix.ENETDOWN: scope.NoRoute, unix.EAFNOSUPPORT: scope.NoRoute,
		unix.EADDRNOTAVAIL: scope.NoAddress, unix.EADDRINUSE: scope.NoAddress, unix.EAGAIN: scope.NoAddress,
		unix.EPERM: scope.Denied, unix.EACCES: scope.Denied,
		unix.EMFILE: scope.Exhausted, unix.ENFILE: scope.Exhausted, unix.ENOBUFS: scope.Exhausted, unix.ENOMEM: scope.Exhausted,
	}
	for e := syscall.Errno(1); e < 140; e++ {
		want, ok := theirs[e]
		if !ok {
			want, ok = ours[e]
		}
		if !ok {
			want = scope.Other
		}
		if got := scope.CauseOf(e); got != want {
			t.Errorf("%d (%v) is %q, want %q", int(e), e, got, want)
		}
	}
}
