package mailclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"postern.example/mailclient/address"
	"postern.example/mailclient/wire"
)

// DefaultServer is where mail goes unless told otherwise: smtpd's own default.
const DefaultServer = "smtp://127.0.0.1:2525"

// DefaultTimeout bounds each step of a conversation.
const DefaultTimeout = 30 * time.Second

// Options say where a message goes and how. The zero value sends to
// DefaultServer.
type Options struct {
	Server   string         // smtp://host:port, smtps://host:port, lmtp+unix:///path
	TLS      wire.TLSMode   // "" is wire.TLSAuto
	Roots    *x509.CertPool // nil: those of the system
	Insecure bool           // take any certificate
	User     string         // "": no AUTH
	Password string
	Hello    string        // name given in EHLO; "" is "localhost"
	Timeout  time.Duration // for each step; 0 is DefaultTimeout
	Network  string        // "tcp4" or "tcp6" to hold to one family
	// Dial replaces the opening of connections, for tests and for measuring.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Recipient is the verdict on one recipient.
type Recipient struct {
	Address  string     `json:"address"`
	Accepted bool       `json:"accepted"`
	Stage    wire.Stage `json:"stage"` // where the verdict fell
	Code     int        `json:"code"`  // 0: no reply
	Enhanced string     `json:"enhanced,omitempty"`
	Text     string     `json:"text"`  // the server's, as it came, or ours where Code is 0
	Retry    bool       `json:"retry"` // not accepted, and the same may be tried again
	// Uncertain: the message was sent whole and no verdict came; the server may
	// have it.
	Uncertain bool `json:"uncertain,omitempty"`
}

// Asked reports whether it came to the server's answer about this recipient,
// rather than to an end before: at the connection, TLS, AUTH or the sender.
func (r Recipient) Asked() bool {
	return r.Stage == wire.StageRcpt || r.Stage == wire.StageData || r.Stage == wire.StageBody
}

// Result is how a message fared.
type Result struct {
	Server     string      `json:"server"`
	Outcome    Outcome     `json:"outcome"`
	Size       int64       `json:"size"` // octets of the message
	Recipients []Recipient `json:"recipients"`
	Trace      Trace       `json:"-"`
}

// Send carries a message in a conversation of its own. The Result is there
// whatever happens, with a verdict for each recipient in the order of m.To; the
// error is nil only if all were accepted, and a *Failure otherwise.
func Send(ctx context.Context, o Options, m *Message) (*Result, error) {
	res := &Result{Server: o.Server, Size: m.Size()}
	if res.Server == "" {
		res.Server = DefaultServer
	}
	srv, err := wire.ParseServer(res.Server)
	if err != nil {
		res.Outcome = Misused
		for _, to := range m.To {
			res.Recipients = append(res.Recipients, Recipient{Address: to.String(), Stage: wire.StageConnect, Text: err.Error()})
		}
		return res, &Failure{Outcome: Misused, Err: err}
	}
	start := time.Now()
	st := o.carry(ctx, srv, m, &res.Trace)
	res.Trace.Total = time.Since(start)
	res.Outcome = judge(st)
	var first *wire.Error
	for _, s := range st {
		res.Recipients = append(res.Recipients, verdict(s))
		if first == nil {
			first = s.Err
		}
	}
	switch res.Outcome {
	case Accepted:
		return res, nil
	case Partial:
		n := 0
		for _, r := range res.Recipients {
			if !r.Accepted {
				n++
			}
		}
		return res, failure(Partial, "%d of %d recipients not accepted: %w", n, len(st), first)
	case Misused:
		return res, failure(Misused, "nothing was sent: %w", first)
	}
	return res, &Failure{Outcome: res.Outcome, Err: first}
}

// carry holds the conversation.
func (o Options) carry(ctx context.Context, srv wire.Server, m *Message, t *Trace) []wire.Status {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	all := func(e *wire.Error) []wire.Status {
		st := make([]wire.Status, max(len(m.To), 1))
		for i := range st {
			st[i] = wire.Status{To: at(m.To, i), Stage: e.Stage, Reply: e.Reply, Err: e}
		}
		return st
	}
	conn, err := wire.Dial(ctx, srv, wire.Config{
		Hello: o.Hello, TLS: o.TLS, Roots: o.Roots, Insecure: o.Insecure, User: o.User, Password: o.Password,
		Network: o.Network, Timeouts: wire.Within(o.Timeout), Dial: o.Dial,
		Trace: func(e wire.Event) { t.Events = append(t.Events, e) },
	})
	if err != nil {
		return all(wireError(err))
	}
	defer conn.Close()
	if len(m.To) == 0 {
		return all(&wire.Error{Stage: wire.StageRcpt, Kind: wire.BadInput, Permanent: true, Err: errors.New("no recipients")})
	}
	st, err := conn.Send(ctx, wire.Mail{
		From: m.From, To: m.To, Body: m.Open(), Size: m.Size(), EightBit: m.EightBit(), UTF8: m.UTF8(),
	})
	if err == nil {
		// The verdicts have fallen: a server that mishandles QUIT changes none,
		// and the trace shows it.
		_ = conn.Quit(ctx)
	}
	return st
}

func at(to []address.Address, i int) (a address.Address) {
	if i < len(to) {
		a = to[i]
	}
	return a
}

func wireError(err error) *wire.Error {
	if e := (*wire.Error)(nil); errors.As(err, &e) {
		return e
	}
	return &wire.Error{Stage: wire.StageConnect, Kind: wire.Gone, Err: err}
}

func verdict(s wire.Status) Recipient {
	r := Recipient{
		Address: s.To.String(), Accepted: s.Err == nil, Stage: s.Stage,
		Code: s.Reply.Code, Enhanced: s.Reply.Enhanced, Text: s.Reply.Text(),
	}
	if e := s.Err; e != nil {
		r.Retry, r.Uncertain = !e.Permanent && !isDenied(e), e.Uncertain
		if r.Code == 0 {
			r.Text = fmt.Sprint(e.Err)
		}
	}
	return r
}
