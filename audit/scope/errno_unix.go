//go:build unix

package scope

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// causeOf sorts what connect() or socket() returned. Whatever is not known to
// come from the target or the network counts as ours: a failure of ours that
// reads as "closed" is the worst thing an audit can say.
func causeOf(errno syscall.Errno) Cause {
	switch errno {
	case unix.ECONNREFUSED, unix.ECONNRESET:
		return Refused
	case unix.ETIMEDOUT:
		return TimedOut
	case unix.EHOSTUNREACH, unix.EHOSTDOWN:
		return Unreachable
	case unix.ENETUNREACH, unix.ENETDOWN, unix.EAFNOSUPPORT:
		return NoRoute
	case unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EAGAIN:
		return NoAddress
	case unix.EACCES, unix.EPERM:
		return Denied
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		return Exhausted
	}
	return Other
}
