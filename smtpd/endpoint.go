package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// role is what a listener is for. Each has its own rule for TLS and AUTH:
//
//	smtp        STARTTLS where there is a certificate; AUTH offered, never needed
//	submission  the same; AUTH needed where there are users (RFC 6409)
//	smtps       TLS from the first byte (RFC 8314); AUTH needed where there are users
//	lmtp        a socket in the file system: neither TLS nor AUTH (RFC 2033)
type role string

const (
	roleSMTP       role = "smtp"
	roleSubmission role = "submission"
	roleSMTPS      role = "smtps"
	roleLMTP       role = "lmtp"
)

// policy is what holds for the clients of one listener.
type policy struct {
	role      role
	tls       *tls.Config // nil: there is no certificate
	implicit  bool        // TLS from the first byte
	needAuth  bool        // MAIL only after AUTH
	auth      bool        // AUTH is on
	clearAuth bool        // AUTH without TLS, from other machines too
}

// endpoint is a listener and its policy.
type endpoint struct {
	net.Listener
	policy
}

// openEndpoints binds all that speaks SMTP or LMTP. On an error the ones that
// were bound are among those returned.
func openEndpoints(ctx context.Context, cfg Config, cert *certificate) ([]endpoint, error) {
	var all []endpoint
	for _, group := range []struct {
		role  role
		addrs []string
	}{{roleSMTP, cfg.SMTP}, {roleSubmission, cfg.Submission}, {roleSMTPS, cfg.SMTPS}, {roleLMTP, cfg.LMTP}} {
		for _, a := range group.addrs {
			p := policy{role: group.role}
			network := "tcp"
			if group.role == roleLMTP {
				network = "unix"
				if err := removeSocket(a); err != nil {
					return all, fmt.Errorf("listen for lmtp on %s: %w", a, err)
				}
			} else {
				p.auth, p.clearAuth = cfg.Auth != AuthOff, cfg.AuthPlaintext
				p.needAuth = cfg.Auth == AuthUsers && group.role != roleSMTP
				p.implicit = group.role == roleSMTPS
				if cert != nil {
					p.tls = cert.config()
				}
			}
			l, err := listen(ctx, string(group.role), network, a)
			if err != nil {
				return all, err
			}
			all = append(all, endpoint{l, p})
		}
	}
	return all, nil
}

// removeSocket takes away the socket that a server which was killed left
// behind. Anything else that has the name stays, and listening on it fails.
func removeSocket(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of that name")
	}
	return os.Remove(path)
}

func listen(ctx context.Context, what, network, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the rest repeats what we say
		}
		return nil, fmt.Errorf("listen for %s on %s: %w", what, addr, err)
	}
	return l, nil
}
