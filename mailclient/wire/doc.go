// Package wire holds one SMTP or LMTP conversation from the client's side, and
// times every event of it.
//
// Dial resolves, connects, reads the greeting, says EHLO (HELO where that is
// refused), takes up TLS and authenticates, as Config asks. Conn.Send carries a
// message and returns a verdict for each recipient; a connection carries any
// number of them. Conn.Quit says good-bye.
//
// # How it fails
//
// Every error is an *Error with the facts: what kind of failure, at which
// stage, the server's reply if there was one, whether trying again can help.
// After an error returned by Send itself the connection is of no more use; a
// refusal of the message or of a recipient is a Status and the connection lives
// on. Nothing is ever reported as accepted without the server's own 2xx.
//
// # What it holds the server to
//
// Replies are bounded in length, lines and bytes; a reply that is not one, or
// whose lines disagree about the code, or that nobody asked for, ends the
// conversation as a broken protocol. Each step has a deadline of its own, so a
// server that answers one byte at a time gains nothing. What a server says is
// kept as it came: show it only through Printable. Anything that stands in the
// buffer when TLS starts was injected, and ends the connection (RFC 3207
// section 6).
//
// # Ownership
//
// The caller owns the Conn and closes it with Quit or Close. A Conn is for one
// goroutine at a time, as is Config.Trace, which is called from it. Cancelling
// the context of a call interrupts the call and ends the connection.
package wire
