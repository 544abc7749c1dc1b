package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/emersion/go-smtp"

	"postern.example/mailclient/address"
	"postern.example/smtpd/store"
)

// session is one client's, between its EHLO and its end. It is the one place
// where errors become replies. All of it runs on the connection's goroutine.
type session struct {
	srv  *Server
	gate *gate
	log  *slog.Logger
	tx   store.Envelope // of the transaction under way
}

// queueWait is how long a client may wait for the store to take its message
// when the store is busy, before it gets 452.
const queueWait = 30 * time.Second

// Mail starts a transaction.
func (s *session) Mail(string, *smtp.MailOptions) error {
	mail := s.gate.mail
	s.tx = store.Envelope{
		MailFrom:   mail.path.String(),
		MailParams: mail.params,
		Helo:       s.gate.helo,
		Remote:     s.gate.RemoteAddr().String(),
	}
	s.tx.Via = s.gate.via()
	s.tx.User = s.gate.user
	if s.gate.secure != nil {
		s.tx.TLS = tlsName(*s.gate.secure)
	}
	s.gate.busy = true
	return nil
}

// Rcpt takes a recipient: in capture mode, any.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	rcpt := s.gate.rcpt
	s.gate.rcpts = append(s.gate.rcpts, rcpt.path)
	s.tx.RcptTo = append(s.tx.RcptTo, store.Recipient{Address: rcpt.path.String(), Params: rcpt.params})
	return nil
}

// Data takes the body, from the gate and not from the library, and answers with
// the id once the message is on disk.
func (s *session) Data(io.Reader) error {
	id, seq, err := s.srv.receive(context.Background(), s.tx, s.gate.body, s.gate.log.message)
	if err == nil {
		s.gate.accept(id, seq)
	}
	return s.reply(id, err)
}

// reply words the outcome of a message. What a stranger gets is general, the
// log has the cause.
func (s *session) reply(id string, err error) error {
	switch {
	case err == nil:
		// go-smtp writes a reply of our own only as an error.
		return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as " + id}
	case errors.Is(err, errTooLarge):
		s.log.Info("refused", "cause", err)
		return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: s.gate.tooLarge()[len("552 5.3.4 "):]}
	case errors.Is(err, store.ErrFull), errors.Is(err, context.DeadlineExceeded):
		s.log.Error("deferred", "cause", err)
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "No room for the message: try again later"}
	case errors.Is(err, errDone), errors.Is(err, errGivenUp):
		// Nobody gets to see a reply: the gate has had its last word, or the
		// client something else to say.
		return errUnseen
	}
	s.log.Error("deferred", "cause", err)
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "The message could not be kept: try again later"}
}

var errUnseen = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "The message was given up"}

// Reset ends the transaction. go-smtp calls it after RSET, EHLO and each body,
// when the reply has been written.
func (s *session) Reset() {
	s.tx = store.Envelope{}
	if seq, tail := s.gate.forget(); seq != 0 {
		s.srv.recent.reply(seq, tail)
	}
}

// Logout has nothing to free: what ends a session is serveConn.
func (s *session) Logout() error { return nil }

// serveConn serves one client to its end.
func (s *Server) serveConn(g *gate) {
	defer func() {
		s.recent.add(g.record())
		g.release()
	}()
	defer g.leave()
	if g.proxied && g.proxy() == nil {
		if r := s.ask(g); !r.IsZero() {
			g.shut(r.String(), refusal{r})
		}
	}
	if g.cause == nil && g.pause() == nil && g.implicit {
		g.handshake()
	}
	log := s.cfg.Log.With("remote", g.RemoteAddr().String())
	log.Debug("connected", "listener", string(g.role))
	sess := &session{srv: s, gate: g, log: log}
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return sess, nil }))
	srv.Domain = s.cfg.Hostname
	srv.MaxRecipients = maxRecipients
	srv.MaxLineLength = 0 // the gate bounds commands, and a body line may be long
	srv.LMTP = g.role == roleLMTP
	srv.EnableSMTPUTF8 = true
	srv.EnableBINARYMIME = true
	srv.EnableDSN = true
	srv.EnableREQUIRETLS = true
	srv.AllowInsecureAuth = true // the session knows better whether AUTH is safe
	srv.ErrorLog = errorLog{log}
	if g.cause != nil {
		g.Close()
	} else {
		srv.Serve(&oneConn{conn: g, done: make(chan struct{})})
		// Serve returns when the connection is closed; its goroutine ends after it.
		srv.Shutdown(context.Background())
	}
	s.metrics.closed.WithLabelValues(closedBy(g.cause)).Inc()
	switch cause := g.cause; {
	case errors.Is(cause, io.EOF), cause == errDone:
		log.Debug("closed")
	default:
		log.Info("closed", "cause", cause)
	}
}

// maxRecipients of one transaction. RFC 5321, section 4.5.3.1.8, asks for 100
// at least.
const maxRecipients = 1000

// errorLog gives go-smtp's words to our log: failures of its own and panics.
type errorLog struct{ log *slog.Logger }

// Printf implements smtp.Logger.
func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("smtp library", "text", fmt.Sprintf(format, v...))
}

// Println implements smtp.Logger.
func (l errorLog) Println(v ...any) { l.log.Error("smtp library", "text", fmt.Sprint(v...)) }

// ParseEnvelope reads the addresses of a message that comes by another road
// than SMTP. The null reverse-path is the empty text.
func ParseEnvelope(from string, to []string) (store.Envelope, error) {
	var env store.Envelope
	var errs []error
	if from != "" {
		a, err := address.Parse(from)
		if err != nil {
			errs = append(errs, err)
		}
		env.MailFrom = a.String()
	}
	if len(to) == 0 || len(to) > maxRecipients {
		errs = append(errs, errors.New("between 1 and 1000 recipients are needed"))
	}
	for _, t := range to[:min(len(to), maxRecipients)] {
		a, err := address.Parse(t)
		if err != nil {
			errs = append(errs, err)
		}
		env.RcptTo = append(env.RcptTo, store.Recipient{Address: a.String()})
	}
	return env, errors.Join(errs...)
}
