package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Scheme says how a server is spoken to.
type Scheme string

const (
	SMTP  Scheme = "smtp"      // TCP, TLS by STARTTLS
	SMTPS Scheme = "smtps"     // TCP, TLS from the first byte (RFC 8314)
	LMTP  Scheme = "lmtp+unix" // a Unix socket, a status for each recipient (RFC 2033)
)

// Server is where a conversation is held. Host and Port belong to SMTP and
// SMTPS, Path to LMTP.
type Server struct {
	Scheme Scheme
	Host   string
	Port   uint16
	Path   string
}

// ParseServer reads smtp://host:port, smtps://host:port or
// lmtp+unix:///path, and nothing else: no user, query or fragment. A port that
// is left out is 25 or 465.
func ParseServer(s string) (Server, error) {
	srv, err := parseServer(s)
	if err != nil {
		return Server{}, fmt.Errorf("parse server %s: %w", quote(s, 120), err)
	}
	return srv, nil
}

func parseServer(s string) (Server, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Server{}, errors.New("want smtp://host:port, smtps://host:port or lmtp+unix:///path")
	}
	srv := Server{Scheme: Scheme(strings.ToLower(scheme))}
	switch srv.Scheme {
	case SMTP:
		srv.Port = 25
	case SMTPS:
		srv.Port = 465
	case LMTP:
		return parseUnix(rest)
	default:
		return Server{}, errors.New("the scheme is none of smtp, smtps, lmtp+unix")
	}
	u, err := url.Parse(s)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return Server{}, err
	}
	switch {
	case u.User != nil:
		return Server{}, errors.New("a user does not belong into the URL")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#"):
		return Server{}, errors.New("a query or fragment does not belong into the URL")
	case u.Path != "" && u.Path != "/":
		return Server{}, errors.New("a path does not belong into the URL")
	}
	srv.Host = u.Hostname()
	if err := checkHost(srv.Host); err != nil {
		return Server{}, err
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Server{}, errors.New("the port is not a number from 1 to 65535")
		}
		srv.Port = uint16(n)
	} else if strings.HasSuffix(u.Host, ":") {
		return Server{}, errors.New("the port is empty")
	}
	return srv, nil
}

func parseUnix(rest string) (Server, error) {
	if !strings.HasPrefix(rest, "/") || len(path.Clean(rest)) < 2 {
		return Server{}, errors.New("want an absolute path after lmtp+unix://")
	}
	p, err := url.PathUnescape(rest)
	if err != nil || !isPrintable(p) || strings.ContainsAny(rest, "?#") {
		return Server{}, errors.New("the path of the socket is not plain text")
	}
	return Server{Scheme: LMTP, Path: p}, nil
}

func checkHost(h string) error {
	if h == "" {
		return errors.New("the host is empty")
	}
	if strings.Contains(h, ":") {
		if _, err := netip.ParseAddr(h); err != nil {
			return errors.New("the host is not an IPv6 address")
		}
		return nil
	}
	if len(h) > 255 {
		return errors.New("the host has more than 255 octets")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(h, "."), ".") {
		if label == "" || len(label) > 63 {
			return errors.New("the host has a label of no or of more than 63 octets")
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if c >= 0x80 {
				return errors.New("the host is not ASCII: write its xn-- form")
			}
			if !isAlnum(c) && c != '-' && c != '_' {
				return fmt.Errorf("the host holds %q", c)
			}
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// String is the URL that ParseServer reads back.
func (s Server) String() string {
	if s.Scheme == LMTP {
		return string(LMTP) + "://" + (&url.URL{Path: s.Path}).EscapedPath()
	}
	host := strings.Replace(s.Host, "%", "%25", 1) // before the zone of a link-local address
	return string(s.Scheme) + "://" + net.JoinHostPort(host, strconv.Itoa(int(s.Port)))
}

// protocol is the name of what is spoken there.
func (s Server) protocol() string {
	if s.Scheme == LMTP {
		return "LMTP"
	}
	return "SMTP"
}
