package scope

import (
	"fmt"
	"net/netip"
)

// Cause is what kept a connection from being made.
type Cause string

// The causes. The first three are the target's or the network's doing; the
// others are ours, and say nothing about the target.
const (
	Refused     Cause = "refused"     // an RST, or an ICMP message that looks like one where we cannot see it
	TimedOut    Cause = "timed out"   // nothing came back in time
	Unreachable Cause = "unreachable" // an ICMP message says so, or may have

	NoRoute     Cause = "no route"         // this machine has no way there
	NoAddress   Cause = "no local address" // no source address or port is free
	Denied      Cause = "denied"           // this machine does not let us; with an ICMP message, its own firewall said so
	Exhausted   Cause = "exhausted"        // out of descriptors, buffers or memory
	SelfConnect Cause = "self-connect"     // the kernel joined our socket to itself
	Canceled    Cause = "canceled"         // the caller gave up
	Outside     Cause = "outside"          // the wall refused it
	Other       Cause = "other"
)

// ICMP is a message that the kernel tied to a connection attempt.
type ICMP struct {
	V6   bool
	Type uint8
	Code uint8
	From netip.Addr // who sent it; invalid if unknown
}

// Failure is why [Wall.Dial] made no connection.
type Failure struct {
	Cause Cause
	// ICMP is the message that ended the attempt, nil when there was none.
	ICMP *ICMP
	// Blind says that this platform does not show such messages: then Refused
	// may be a firewall's, and Unreachable may be our own routing table's.
	Blind bool
	Err   error
}

func (f *Failure) Error() string {
	if f.ICMP != nil {
		return fmt.Sprintf("%s (ICMP type %d code %d from %v): %v", f.Cause, f.ICMP.Type, f.ICMP.Code, f.ICMP.From, f.Err)
	}
	return fmt.Sprintf("%s: %v", f.Cause, f.Err)
}

// Unwrap returns the error of the system.
func (f *Failure) Unwrap() error { return f.Err }
