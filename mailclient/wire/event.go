package wire

import "time"

// Side says who caused an Event.
type Side string

const (
	Client  Side = "client"
	Remote  Side = "server"
	Network Side = "network" // neither wrote a line: resolving, connecting, TLS, the end
)

// EventKind says what happened.
type EventKind string

const (
	Resolve EventKind = "resolve" // a name became addresses
	Connect EventKind = "connect" // a connection stands, or could not be made
	TLS     EventKind = "tls"     // the handshake is done, or failed
	Command EventKind = "command" // one line of the client
	Answer  EventKind = "reply"   // one line of the server
	Data    EventKind = "data"    // the message itself, dot-stuffed
	Closed  EventKind = "close"   // the connection has ended
)

// Event is one thing that happened in a conversation. Its JSON agrees with the
// transcript that smtpd keeps of the same conversation: at, from, text, bytes.
type Event struct {
	// At is the time since Dial began, from the monotonic clock.
	At time.Duration `json:"at"`
	// Took is how long it lasted: of a look-up, a connect, a handshake or the
	// writing of the message; of the last line of a reply, the round trip from
	// the write that asked for it, or its last block. Zero where it does not
	// apply.
	Took time.Duration `json:"took,omitempty"`
	From Side          `json:"from"`
	Kind EventKind     `json:"kind"`
	// Verb is the command that a line belongs to: EHLO, MAIL, AUTH, ... "." for
	// the end of the message, "" for the greeting.
	Verb string `json:"verb,omitempty"`
	// Text is the line without its end, as it came or went: show it only
	// through Printable. Secrets of AUTH are blanked; the message is a count.
	Text string `json:"text"`
	// Bytes counts the octets of the line with its end, before TLS.
	Bytes int64 `json:"bytes"`
	// Write numbers the writes of the client: lines with the same number left
	// in one (RFC 2920).
	Write int `json:"write,omitempty"`
	// Failed marks an event of the network that did not come to its end.
	Failed bool `json:"failed,omitempty"`
}

func (c *Conn) emit(e Event) {
	if c.cfg.Trace == nil {
		return
	}
	if e.At == 0 {
		e.At = time.Since(c.start)
	}
	c.cfg.Trace(e)
}
