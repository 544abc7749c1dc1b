package probe

import (
	"errors"
	"net/netip"

	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// Kind is one of the ways in which an attempt ends.
type Kind uint8

// The kinds. Canceled is no outcome at all: the run was stopped.
const (
	Evident  Kind = iota // State and Evidence are final
	Silent               // State and Evidence hold if no other attempt says more
	Ours                 // our own failure; Blame says how far it reaches
	Canceled             // nothing was learned
)

// Blame is how much of a run a failure of ours concerns.
type Blame uint8

// The reaches of a failure.
const (
	Port    Blame = iota + 1 // this attempt only
	Address                  // everything sent to this target
	Machine                  // everything sent at all
	Wall                     // this target must not be contacted: no other attempt is made
	Rule                     // this port, by a rule of this machine that another attempt would meet too
)

// Outcome is what one attempt taught.
type Outcome struct {
	Kind     Kind
	State    record.State
	Evidence record.Evidence
	Answered bool   // the target itself answered, so it is there
	Blame    Blame  // for Ours
	Detail   string // for Ours: the error
}

// Classify says what the result of connecting to target means. A nil error is a
// connection.
func Classify(target netip.Addr, err error) Outcome {
	if err == nil {
		return Outcome{State: record.Open, Evidence: record.SynAck, Answered: true}
	}
	var f *scope.Failure
	if !errors.As(err, &f) {
		return ours(Address, err)
	}
	switch f.Cause {
	case scope.Canceled:
		return Outcome{Kind: Canceled}
	case scope.Outside:
		return ours(Wall, err)
	}
	switch {
	case f.ICMP != nil && f.Cause == scope.Denied:
		return ours(Rule, err)
	case f.ICMP != nil:
		return unreachable(target, f.ICMP)
	}
	switch f.Cause {
	case scope.Refused:
		return Outcome{State: record.Closed, Evidence: record.Reset, Answered: true}
	case scope.TimedOut:
		return Outcome{Kind: Silent, State: record.Filtered, Evidence: record.NoResponse}
	case scope.Unreachable:
		// Only where ICMP cannot be seen: it may have been a router, or the
		// neighbour that did not answer on our own link. Either way the target
		// was silent.
		return Outcome{Kind: Silent, State: record.Filtered, Evidence: record.HostUnreachable}
	case scope.SelfConnect:
		return ours(Port, err)
	case scope.Exhausted:
		return ours(Machine, err)
	}
	return ours(Address, err)
}

func ours(b Blame, err error) Outcome {
	return Outcome{Kind: Ours, State: record.Unknown, Evidence: record.LocalFailure, Blame: b, Detail: record.Clean(err.Error())}
}

// unreachable reads an ICMP message (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443
// section 3). A verdict of a filter is final; a missing way there may be back at
// the next attempt. Our own kernel sends the second kind too, for a neighbour
// that does not answer: that is silence of the target all the same.
func unreachable(target netip.Addr, m *scope.ICMP) Outcome {
	o := Outcome{State: record.Filtered, Answered: m.From == target}
	if m.V6 {
		switch {
		case m.Type == 1 && (m.Code == 1 || m.Code == 5 || m.Code == 6):
			o.Evidence = record.AdminProhibited
		case m.Type == 1 && m.Code == 4:
			o.Evidence = record.PortUnreachable
		case m.Type == 1 && m.Code == 0:
			o.Kind, o.Evidence = Silent, record.NetUnreachable
		case m.Type == 3:
			o.Kind, o.Evidence = Silent, record.TimeExceeded
		case m.Type == 4 && m.Code == 1:
			o.Evidence = record.ProtoUnreachable
		default:
			o.Kind, o.Evidence = Silent, record.HostUnreachable
		}
	} else {
		switch {
		case m.Type == 3 && (m.Code == 9 || m.Code == 10 || m.Code == 13):
			o.Evidence = record.AdminProhibited
		case m.Type == 3 && m.Code == 3:
			o.Evidence = record.PortUnreachable
		case m.Type == 3 && m.Code == 2:
			o.Evidence = record.ProtoUnreachable
		case m.Type == 3 && (m.Code == 0 || m.Code == 6 || m.Code == 11):
			o.Kind, o.Evidence = Silent, record.NetUnreachable
		case m.Type == 11:
			o.Kind, o.Evidence = Silent, record.TimeExceeded
		default:
			o.Kind, o.Evidence = Silent, record.HostUnreachable
		}
	}
	if o.Kind == Silent {
		o.Answered = false
	}
	return o
}
