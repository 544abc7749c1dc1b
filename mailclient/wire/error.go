package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Kind sorts failures by what a caller does about them.
type Kind string

const (
	Refused     Kind = "refused"     // the server said 4xx or 5xx: see Permanent
	TimedOut    Kind = "timeout"     // a step took longer than its deadline
	Gone        Kind = "gone"        // no such host, no connection, or it was lost
	Protocol    Kind = "protocol"    // the server said what SMTP does not allow
	Insecure    Kind = "tls"         // TLS was not offered, failed, or was not to be trusted
	AuthFailed  Kind = "auth"        // no way to authenticate, or no safe one
	Unsupported Kind = "unsupported" // the message needs what the server does not offer
	BadInput    Kind = "input"       // the caller's message, address or setting is at fault
	Cancelled   Kind = "cancelled"   // the caller's context ended
)

// Stage is the step at which a conversation failed.
type Stage string

const (
	StageResolve  Stage = "resolve"
	StageConnect  Stage = "connect"
	StageTLS      Stage = "tls"
	StageGreeting Stage = "greeting"
	StageHello    Stage = "ehlo"
	StageStartTLS Stage = "starttls"
	StageAuth     Stage = "auth"
	StageReset    Stage = "rset"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data"
	StageBody     Stage = "body" // from the first byte of the message to the reply to its end
	StageQuit     Stage = "quit"
)

// Error is why a conversation, a message or a recipient failed.
type Error struct {
	Stage Stage
	Kind  Kind
	// Permanent: the same again will fail again. A refusal by 5xx, a message
	// that this server cannot carry, bad input.
	Permanent bool
	// Uncertain: the whole message was sent and no verdict came back. The
	// server may have it; sending again may deliver twice.
	Uncertain bool
	// Reply is what the server said; its Code is 0 if it said nothing.
	Reply Reply
	// Err is the cause where it was not a reply.
	Err error
}

// Error is one line, safe for logs and terminals.
func (e *Error) Error() string {
	var b strings.Builder
	cause := ""
	if e.Err != nil {
		cause = Printable(e.Err.Error())
	}
	// A cause may begin with the stage: "connect to ...", "tls: ...". What the
	// caller got wrong is wrong at any stage.
	rest, said := strings.CutPrefix(cause, string(e.Stage))
	if said = said && (rest == "" || rest[0] == ' ' || rest[0] == ':'); !said && e.Kind != BadInput {
		b.WriteString(string(e.Stage) + ": ")
	}
	switch {
	case e.Err != nil:
		b.WriteString(cause)
		if e.Reply.Code != 0 {
			fmt.Fprintf(&b, " (%s)", e.Reply)
		}
	case e.Reply.Code != 0:
		fmt.Fprintf(&b, "server said %s", e.Reply)
	default:
		b.WriteString(string(e.Kind))
	}
	if e.Uncertain {
		b.WriteString(" (the message was sent whole: it may have been taken)")
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// refusal is the error of a 4xx or 5xx.
func refusal(stage Stage, r Reply) *Error {
	return &Error{Stage: stage, Kind: Refused, Permanent: r.Code >= 500, Reply: r}
}

func protocolError(stage Stage, format string, args ...any) *Error {
	return &Error{Stage: stage, Kind: Protocol, Err: fmt.Errorf(format, args...)}
}

func badInput(stage Stage, format string, args ...any) *Error {
	return &Error{Stage: stage, Kind: BadInput, Permanent: true, Err: fmt.Errorf(format, args...)}
}

// ioError sorts a failure of the network. The context is asked first, since its
// end shows as a passed deadline.
func ioError(ctx context.Context, stage Stage, err error) *Error {
	e := &Error{Stage: stage, Kind: Gone, Err: err}
	timeout := net.Error(nil)
	switch {
	case ctx.Err() != nil:
		e.Err = context.Cause(ctx)
		e.Kind = Cancelled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			e.Kind = TimedOut
		}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e.Kind = TimedOut
		e.Err = errors.New("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Err = errors.New("the server closed the connection")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Err = errors.New("the server broke the connection off")
	}
	return e
}
