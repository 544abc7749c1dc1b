package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// upgrade takes up STARTTLS as the mode asks (RFC 3207).
func (c *Conn) upgrade(ctx context.Context) *Error {
	if c.tls != nil || c.cfg.TLS == TLSOff {
		return nil
	}
	_, offered := c.Extension("STARTTLS")
	if c.cfg.TLS == TLSAuto && (!offered || c.srv.Scheme == LMTP) {
		return nil
	}
	if !offered {
		return &Error{Stage: StageStartTLS, Kind: Insecure, Permanent: true, Err: errors.New("TLS is required and the server does not offer STARTTLS")}
	}
	r, err := c.command(ctx, StageStartTLS, "STARTTLS", "STARTTLS")
	switch {
	case err != nil:
		return err
	case r.Temporary(), r.Permanent():
		e := refusal(StageStartTLS, r)
		e.Err = errors.New("the server offers STARTTLS and refuses it")
		if r.Permanent() {
			e.Kind = Insecure
		}
		return e
	case r.Code != 220:
		return c.fail(protocolError(StageStartTLS, "the server answers STARTTLS with %d", r.Code))
	}
	if n := c.r.Buffered(); n > 0 {
		return c.fail(protocolError(StageStartTLS, "%d bytes came in the clear after the go-ahead for TLS: they are not the server's word", n))
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	// What was said before the handshake counts for nothing.
	return c.hello(ctx)
}

func (c *Conn) handshake(ctx context.Context) *Error {
	verify := !c.cfg.Insecure
	why := "not verified, as asked"
	if verify && c.cfg.TLS == TLSAuto && c.local && c.cfg.Roots == nil {
		verify, why = false, "not verified, being on this machine"
	}
	name := strings.TrimSuffix(c.srv.Host, ".")
	if c.srv.Scheme == LMTP {
		name = "localhost"
	}
	t := tls.Client(c.conn, &tls.Config{
		ServerName:         name,
		RootCAs:            c.cfg.Roots,
		InsecureSkipVerify: !verify,
		MinVersion:         tls.VersionTLS12,
	})
	began := time.Now()
	c.deadline(c.cfg.Timeouts.TLS)
	// The deadline is the connection's and the end of ctx is guard's: the
	// handshake's own goroutine for a context is not needed.
	if err := t.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		e := ioError(ctx, StageTLS, err)
		if e.Kind == Gone {
			e.Kind = Insecure
			var unknown *tls.CertificateVerificationError
			var plain tls.RecordHeaderError
			switch {
			case errors.As(err, &unknown):
				e.Err = fmt.Errorf("%w: %w", errNoTrust, unknown.Err)
			case errors.As(err, &plain):
				e.Err = errors.New("the server does not speak TLS here")
			}
		}
		c.broken = e
		c.emit(Event{From: Network, Kind: TLS, Text: e.Err.Error(), Took: max(time.Since(began), 1), Failed: true})
		return e
	}
	state := t.ConnectionState()
	c.mu.Lock()
	c.conn = t
	c.mu.Unlock()
	c.r = bufio.NewReaderSize(t, maxReplyLine)
	c.tls = &state
	if verify {
		why = "verified for " + name
	}
	c.emit(Event{From: Network, Kind: TLS, Took: max(time.Since(began), 1), Text: fmt.Sprintf("%s, %s, certificate of %s, %s",
		tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), subject(state.PeerCertificates), why)})
	return nil
}

// subject names who a certificate is for, as the certificate says it.
func subject(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return "nobody"
	}
	leaf := chain[0]
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, leaf.Subject.CommonName)
	}
	const most = 3
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, ", ")
}
