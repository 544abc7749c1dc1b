package admit

import "fmt"

// Reason is a short label of why something was refused, for a metric and a log
// line.
type Reason string

// Reasons of a Refusal.
const (
	Blocked      Reason = "blocked"          // on the block list
	Banned       Reason = "banned"           // too many failures not long ago
	Full         Reason = "full"             // all sessions are taken
	Reserved     Reason = "reserved"         // the last ones are for others
	AddrSessions Reason = "address-sessions" // open at once
	NetSessions  Reason = "network-sessions"
	AddrConnects Reason = "address-connects" // per minute
	NetConnects  Reason = "network-connects"
	Messages     Reason = "messages"   // per hour
	Recipients   Reason = "recipients" // per hour
	NoProgress   Reason = "no-progress"
	Errors       Reason = "errors"
	EarlyTalker  Reason = "early-talker"
	TooSlow      Reason = "too-slow"
)

// Reasons are all of them, so that a metric can show each from the start.
func Reasons() []Reason {
	return []Reason{
		Blocked, Banned, Full, Reserved, AddrSessions, NetSessions, AddrConnects, NetConnects,
		Messages, Recipients, NoProgress, Errors, EarlyTalker, TooSlow,
	}
}

// Refusal is what to answer instead of going on. Its zero value refuses nothing.
// With 421 and 554 the connection is to be closed after the answer (RFC 5321,
// sections 3.8 and 3.1); with 450 the session goes on.
type Refusal struct {
	Code     int    // 421, 450 or 554; 0: nothing is refused
	Enhanced string // status code of RFC 3463, such as 4.7.0
	Text     string // one line, general
	Reason   Reason
}

// IsZero tells whether nothing is refused.
func (r Refusal) IsZero() bool { return r.Code == 0 }

// String is the reply line without its CRLF, and empty for the zero value.
func (r Refusal) String() string {
	if r.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)
}

// refusal words a Reason.
func refusal(why Reason) Refusal {
	switch why {
	case Blocked:
		return Refusal{554, "5.7.1", "No service for this address", why}
	case Banned:
		return Refusal{421, "4.7.0", "Too many failures from your address: try again later", why}
	case Full, Reserved:
		return Refusal{421, "4.3.2", "Too many clients: try again later", why}
	case AddrSessions:
		return Refusal{421, "4.7.0", "Too many connections at once from your address: try again later", why}
	case NetSessions:
		return Refusal{421, "4.7.0", "Too many connections at once from your network: try again later", why}
	case AddrConnects:
		return Refusal{421, "4.7.0", "Too many new connections from your address: try again later", why}
	case NetConnects:
		return Refusal{421, "4.7.0", "Too many new connections from your network: try again later", why}
	case Messages:
		return Refusal{450, "4.7.1", "Too many messages from your address: try again later", why}
	case Recipients:
		return Refusal{450, "4.7.1", "Too many recipients from your address: try again later", why}
	case NoProgress:
		return Refusal{421, "4.7.0", "Too many commands without a message", why}
	case Errors:
		return Refusal{421, "4.7.0", "Too many errors", why}
	case EarlyTalker:
		return Refusal{554, "5.5.1", "The client spoke before the greeting", why}
	case TooSlow:
		return Refusal{421, "4.4.2", "The message came too slowly", why}
	}
	return Refusal{421, "4.3.0", "Try again later", why}
}
