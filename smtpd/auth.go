package smtpd

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Auth says who may authenticate.
type Auth string

// The kinds of Auth.
const (
	AuthOff   Auth = ""      // AUTH is not offered
	AuthAny   Auth = "any"   // every name with every password: for tests of clients
	AuthUsers Auth = "users" // those of Config.Users
)

var (
	errAuthFailed  = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Name or password is wrong"}
	errAuthOff     = &smtp.SMTPError{Code: 502, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "AUTH is not offered"}
	errAuthClear   = &smtp.SMTPError{Code: 538, EnhancedCode: smtp.EnhancedCode{5, 7, 11}, Message: "AUTH needs TLS first"}
	errAuthMech    = &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "The mechanism is not known"}
	errAuthSyntax  = &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 2}, Message: "The response cannot be read"}
	errAuthBusy    = &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many authenticate at once: try again"}
	errAuthNotSelf = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Nobody may act for somebody else"}
)

// authWait is how long a password may wait to be checked, when many are.
const authWait = 10 * time.Second

// AuthMechanisms are offered where a password cannot be overheard: under TLS,
// on loopback, or where the operator said so (RFC 4954, section 4).
func (s *session) AuthMechanisms() []string {
	if !s.gate.mayAuth() {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// Auth starts an exchange.
func (s *session) Auth(mech string) (sasl.Server, error) {
	switch {
	case s.srv.cfg.Auth == AuthOff || s.gate.policy.role == roleLMTP:
		return nil, errAuthOff
	case !s.gate.mayAuth():
		return nil, errAuthClear
	}
	switch mech {
	case sasl.Plain:
		return plainSyntax{sasl.NewPlainServer(s.authenticate)}, nil
	case sasl.Login:
		return &loginServer{check: s.authenticate}, nil
	}
	return nil, errAuthMech
}

// authenticate checks a name and its password. authzid may repeat the name and
// nothing else.
func (s *session) authenticate(authzid, name, password string) error {
	if authzid != "" && authzid != name {
		s.refuseAuth(name, "authzid differs")
		return errAuthNotSelf
	}
	if name == "" || !printable(name) {
		s.refuseAuth("", "bad name")
		return errAuthFailed
	}
	if s.srv.cfg.Auth == AuthUsers {
		ctx, cancel := context.WithTimeout(context.Background(), authWait)
		defer cancel()
		switch err := s.srv.users.Load().Check(ctx, name, password); {
		case errors.Is(err, ErrBusy):
			s.log.Warn("auth deferred", "cause", err)
			return errAuthBusy
		case err != nil:
			s.refuseAuth(name, "wrong name or password")
			return errAuthFailed
		}
	}
	s.srv.metrics.auth.WithLabelValues("ok").Inc()
	s.gate.user = name
	s.log.Info("authenticated", "user", name)
	return nil
}

func (s *session) refuseAuth(name, cause string) {
	s.srv.metrics.auth.WithLabelValues("failed").Inc()
	s.log.Warn("auth refused", "user", name, "cause", cause)
}

func printable(s string) bool {
	if len(s) > 255 {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\uFFFD' || 0x80 <= r && r < 0xa0 {
			return false
		}
	}
	return true
}

// plainSyntax words the library's one error of its own as RFC 4954 has it.
type plainSyntax struct{ sasl.Server }

// Next implements sasl.Server.
func (p plainSyntax) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := p.Server.Next(response)
	var reply *smtp.SMTPError
	if err != nil && !errors.As(err, &reply) {
		err = errAuthSyntax
	}
	return challenge, done, err
}

// loginServer is the server's side of LOGIN, which was never standardized
// (draft-murchison-sasl-login) and is still the only one that some clients have.
type loginServer struct {
	check func(authzid, name, password string) error
	name  *string
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.name == nil:
		name := string(response)
		l.name = &name
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check("", *l.name, string(response))
}
