package scope

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// causeOf sorts what connect() or socket() returned; see the Unix form. The
// Winsock numbers are not those of the syscall package's E constants.
func causeOf(errno syscall.Errno) Cause {
	switch errno {
	case windows.WSAECONNREFUSED, windows.WSAECONNRESET:
		return Refused
	case windows.WSAETIMEDOUT:
		return TimedOut
	case windows.WSAEHOSTUNREACH, windows.WSAEHOSTDOWN:
		return Unreachable
	case windows.WSAENETUNREACH, windows.WSAENETDOWN, windows.WSAEAFNOSUPPORT:
		return NoRoute
	case windows.WSAEADDRNOTAVAIL, windows.WSAEADDRINUSE:
		return NoAddress
	case windows.WSAEACCES:
		return Denied
	case windows.WSAEMFILE, windows.WSAENOBUFS:
		return Exhausted
	}
	return Other
}
