package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"postern.example/mailclient/address"
	"postern.example/smtpd/store"
)

// session is one client's, between its EHLO and its end. It is the one place
// where errors become replies. go-smtp calls it from the connection's goroutine,
// but for Data, which for BDAT has one of its own.
type session struct {
	srv  *Server
	gate *gate
	log  *slog.Logger

	mu   sync.Mutex      // Data of a BDAT body runs beside the rest
	tx   *store.Envelope // nil outside of a transaction
	over bool
	data sync.WaitGroup // Data calls under way
}

// queueWait is how long a client may wait for the store to take its message
// when the store is busy, before it gets 452.
const queueWait = 30 * time.Second

// Mail starts a transaction.
func (s *session) Mail(string, *smtp.MailOptions) error {
	mail := s.gate.mail
	tx := &store.Envelope{
		MailFrom:   mail.path.String(),
		MailParams: mail.params,
		Via:        "SMTP",
		Helo:       s.gate.helo,
		Remote:     s.gate.RemoteAddr().String(),
	}
	switch {
	case mail.has("SMTPUTF8"):
		tx.Via = "UTF8SMTP" // RFC 6531, section 4.3
	case s.gate.esmtp:
		tx.Via = "ESMTP"
	}
	s.gate.busy, s.gate.chunking = true, false
	s.set(tx)
	return nil
}

// Rcpt takes a recipient: in capture mode, any.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	rcpt := s.gate.rcpt
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx.RcptTo = append(s.tx.RcptTo, store.Recipient{Address: rcpt.path.String(), Params: rcpt.params})
	return nil
}

// Data takes the body and answers with the id once the message is on disk.
func (s *session) Data(r io.Reader) error {
	env, ok := s.begin()
	if !ok {
		return errDone // a BDAT body that was given up before it began
	}
	defer s.data.Done()
	ctx, cancel := context.WithTimeout(context.Background(), queueWait)
	defer cancel()
	id, err := s.srv.receive(ctx, env, r)
	return s.reply(id, err)
}

func (s *session) begin() (store.Envelope, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil || s.over {
		return store.Envelope{}, false
	}
	s.data.Add(1)
	return *s.tx, true
}

func (s *session) set(tx *store.Envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx = tx
}

// end waits until no Data call is left.
func (s *session) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.data.Wait()
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
	case errors.Is(err, errDone), errors.Is(err, smtp.ErrDataReset), errors.Is(err, io.ErrUnexpectedEOF):
		// The client is gone, or the gate has had its last word.
		return err
	}
	s.log.Error("deferred", "cause", err)
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "The message could not be kept: try again later"}
}

// Reset ends the transaction. go-smtp calls it after RSET, EHLO and each body,
// when the reply has been written.
func (s *session) Reset() {
	s.set(nil)
	s.gate.mail, s.gate.busy, s.gate.chunking = command{}, false, false
}

// Logout ends the session.
func (s *session) Logout() error { return nil }

// serveConn serves one client to its end.
func (s *Server) serveConn(g *gate) {
	log := s.cfg.Log.With("remote", g.RemoteAddr().String())
	log.Debug("connected")
	sess := &session{srv: s, gate: g, log: log}
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return sess, nil }))
	srv.Domain = s.cfg.Hostname
	srv.MaxRecipients = maxRecipients
	srv.MaxLineLength = 0 // the gate bounds commands, and a body line may be long
	srv.EnableSMTPUTF8 = true
	srv.AllowInsecureAuth = true // so that AUTH, which is not offered, is unknown and not "TLS is required"
	srv.ErrorLog = errorLog{log}
	srv.Serve(&oneConn{conn: g, done: make(chan struct{})})
	// Serve returns when the connection is closed; its goroutine ends after it.
	srv.Shutdown(context.Background())
	sess.end()
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
