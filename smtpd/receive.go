package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"postern.example/smtpd/store"
)

var errTooLarge = errors.New("message over the size limit")

// copyBuffers are shared: one for each message would be most of its cost.
var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// receive takes one message, whichever road it came by: it adds the Received
// field, bounds the body, and returns the message's id once it is on disk.
// Beyond MaxSize nothing of it is kept and the rest of r is left unread. said,
// if there was a conversation, gives its transcript once r is read.
func (s *Server) receive(ctx context.Context, env store.Envelope, r io.Reader, said func() []byte) (id string, seq int64, err error) {
	now := s.cfg.now()
	id = store.NewID(now)
	body := s.store.NewBody()
	defer body.Discard()
	if _, err := io.WriteString(body, s.receivedField(id, env, now)); err != nil {
		return "", 0, err
	}
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	// A plain Writer and Reader, so that the buffer is used.
	n, err := io.CopyBuffer(struct{ io.Writer }{body}, io.LimitReader(r, int64(s.cfg.MaxSize)+1), buf[:])
	if err != nil {
		return "", 0, fmt.Errorf("receive message: %w", err)
	}
	if n > int64(s.cfg.MaxSize) {
		return "", 0, errTooLarge
	}
	m := store.Message{ID: id, Received: now, Envelope: env, Body: body}
	if said != nil {
		m.Transcript = said()
	}
	ctx, cancel := context.WithTimeout(ctx, queueWait)
	defer cancel()
	whole := time.Now()
	if seq, err = s.store.Accept(ctx, m); err != nil {
		return "", 0, err
	}
	s.metrics.commit.Observe(time.Since(whole).Seconds())
	s.metrics.bytes.Add(float64(n))
	s.metrics.accepted.WithLabelValues(road(env.Via)).Inc()
	s.cfg.Log.Info("accepted", "id", id, "via", env.Via, "remote", env.Remote,
		"mail_from", env.MailFrom, "recipients", len(env.RcptTo), "bytes", n)
	return id, seq, nil
}

// receivedField is the trace field that RFC 5321, section 4.4, puts in front.
// A recipient stands in it only when there is no other to be given away.
func (s *Server) receivedField(id string, env store.Envelope, now time.Time) string {
	origin := "local socket"
	if ap, err := netip.ParseAddrPort(env.Remote); err == nil {
		if ip := ap.Addr().Unmap().WithZone(""); ip.Is4() {
			origin = "[" + ip.String() + "]"
		} else {
			origin = "[IPv6:" + ip.String() + "]" // RFC 5321, section 4.1.3
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from %s (%s)\r\n\t", fieldName(env.Helo), origin)
	if env.TLS != "" {
		fmt.Fprintf(&b, "(using %s)\r\n\t", env.TLS)
	}
	fmt.Fprintf(&b, "by %s with %s id %s", s.cfg.Hostname, env.Via, id)
	if len(env.RcptTo) == 1 {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", env.RcptTo[0].Address)
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", now.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	return b.String()
}

// fieldName is the client's name for itself when that is a domain or an address
// literal, and "unknown" when it is anything that could break the field.
func fieldName(helo string) string {
	for _, c := range []byte(helo) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.:[]", c) >= 0) {
			return "unknown"
		}
	}
	if helo == "" {
		return "unknown"
	}
	return helo
}

// road is how a message came, without what was used on the way.
func road(via string) string {
	switch {
	case via == "HTTP":
		return "http"
	case strings.Contains(via, "LMTP"):
		return "lmtp"
	}
	return "smtp"
}
