// Package mailclient composes, sends, traces, compares and reads mail.
//
// The road of a message: Compose builds it from a Draft, or ReadMessage takes
// one that exists; both give a Message, which is spooled, has proper line ends
// and knows what it needs from a server. Send carries it by SMTP or LMTP and
// gives a Result with a verdict for each recipient and the Trace of all that
// travelled. Contrast carries the same Message by SMTP and by HTTP and measures
// both on the connection. Read fetches a message back from smtpd's HTTP API.
//
// # How it fails
//
// What goes wrong with a server is a *Failure, whose Outcome says what a caller
// does next: correct the address, try again, give up. Faults of the caller's
// own input are plain errors, and those that make a message impossible to send
// wrap ErrUnsendable. Text from outside is shown through wire.Printable or
// written by the Write functions here, which do so themselves.
//
// # Who owns what
//
// A Message may hold a temporary file: whoever made it closes it. It may be
// sent any number of times, also at once. Nothing here starts a goroutine that
// outlives its call, and no call waits longer than its timeouts allow.
package mailclient
