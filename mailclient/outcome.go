package mailclient

import (
	"fmt"

	"postern.example/mailclient/wire"
)

// Outcome says how an attempt ended, by what a caller does about it.
type Outcome string

const (
	Accepted          Outcome = "accepted"           // everybody's copy was taken over
	Partial           Outcome = "partial"            // some recipients accepted, some not
	MessageRefused    Outcome = "message-refused"    // refused for good
	RecipientsRefused Outcome = "recipients-refused" // every recipient refused for good
	HostGone          Outcome = "host-gone"          // not there, not willing, or lost on the way
	TryAgain          Outcome = "try-again"          // nobody accepted; a 4xx or a time-out
	ProtocolBroken    Outcome = "protocol-broken"    // the other side does not speak the protocol
	Denied            Outcome = "denied"             // authentication or TLS refused
	Misused           Outcome = "misused"            // the caller's settings cannot work
)

// Failure is why an attempt did not end in Accepted. Its text is one line and
// safe to show.
type Failure struct {
	Outcome Outcome
	Err     error
}

// Error gives the cause.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

func failure(o Outcome, format string, args ...any) *Failure {
	return &Failure{Outcome: o, Err: fmt.Errorf(format, args...)}
}

// judge finds the outcome of a mail from the verdicts on its recipients, of
// which there is at least one.
func judge(st []wire.Status) Outcome {
	accepted, rcpt := 0, 0
	var denied, again, protocol, gone, misused bool
	for _, s := range st {
		e := s.Err
		if e == nil {
			accepted++
			continue
		}
		switch {
		case isDenied(e):
			denied = true
		case e.Reply.Temporary(), e.Kind == wire.TimedOut, e.Kind == wire.Cancelled:
			again = true
		case e.Kind == wire.Protocol:
			protocol = true
		case e.Kind == wire.Gone, e.Stage == wire.StageGreeting, e.Stage == wire.StageHello && e.Kind == wire.Refused:
			gone = true
		case e.Kind == wire.BadInput && e.Stage != wire.StageBody:
			misused = true
		case e.Stage == wire.StageRcpt:
			rcpt++
		}
	}
	switch {
	case accepted == len(st):
		return Accepted
	case accepted > 0:
		return Partial
	case denied:
		return Denied
	case again:
		return TryAgain
	case protocol:
		return ProtocolBroken
	case gone:
		return HostGone
	case misused:
		return Misused
	case rcpt == len(st):
		return RecipientsRefused
	}
	return MessageRefused
}

// isDenied knows what only another TLS or AUTH setting can mend.
func isDenied(e *wire.Error) bool {
	return e.Kind == wire.Insecure || e.Kind == wire.AuthFailed || needsAuth(e.Reply.Code)
}

// needsAuth knows the codes of RFC 4954 section 6 that say "who are you?".
func needsAuth(code int) bool {
	return code == 530 || code == 534 || code == 535 || code == 538
}
