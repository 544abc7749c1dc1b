package mailclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"postern.example/mailclient/wire"
)

// DefaultHTTP is where smtpd's inbox and its API are unless told otherwise.
const DefaultHTTP = "http://127.0.0.1:8025"

// Bounds of what is taken from an HTTP server.
const (
	maxHTTPHeader = 64 << 10
	maxHTTPError  = 64 << 10
	maxHTTPList   = 16 << 20
)

// ParseHTTP reads the address of smtpd's HTTP side: http://host:port or
// https://host:port, without user, path, query or fragment.
func ParseHTTP(s string) (*url.URL, error) {
	bad := func(format string, args ...any) (*url.URL, error) {
		return nil, fmt.Errorf("parse HTTP address %q: %w", cut(s, 120), fmt.Errorf(format, args...))
	}
	const want = "want http://host:port or https://host:port"
	if !strings.Contains(s, "://") {
		return bad(want)
	}
	u, err := url.Parse(s)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return bad("%w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return bad(want)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return bad("user, query and fragment do not belong here")
	case u.Path != "" && u.Path != "/":
		return bad("a path does not belong here")
	}
	// The host follows the same rules as that of a mail server.
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if _, err := wire.ParseServer("smtp://" + net.JoinHostPort(strings.Replace(u.Hostname(), "%", "%25", 1), port)); err != nil {
		return bad("the host or the port is not well formed")
	}
	u.Path = ""
	return u, nil
}

// api speaks with smtpd's HTTP API: no proxy, no redirect, each answer bounded.
type api struct {
	base    *url.URL
	client  *http.Client
	timeout time.Duration
	other   atomic.Pointer[notHTTP] // what answered instead of an HTTP server
}

func newAPI(base string, timeout time.Duration, dial dialFunc) (*api, error) {
	if base == "" {
		base = DefaultHTTP
	}
	u, err := ParseHTTP(base)
	if err != nil {
		return nil, &Failure{Outcome: Misused, Err: err}
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	a := &api{base: u, timeout: timeout}
	if u.Scheme == "http" {
		dial = a.answersHTTP(dial)
	}
	t := &http.Transport{
		DialContext:            dial,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxHTTPHeader,
		DisableCompression:     true, // what is measured and read is what the server sent
		MaxIdleConnsPerHost:    1,
	}
	a.client = &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a, nil
}

func (a *api) close() { a.client.CloseIdleConnections() }

// request is one call of the API.
type request struct {
	method string
	path   string
	query  url.Values
	kind   string // media type of body
	body   io.Reader
	size   int64
	most   int64 // octets taken of the answer
}

// do gives the body of a 2xx answer, of at most most octets.
func (a *api) do(ctx context.Context, r request) ([]byte, error) {
	// Each step has its own limit in the transport; the whole has one too, so
	// that an answer byte by byte ends.
	ctx, cancel := context.WithTimeout(ctx, 4*a.timeout)
	defer cancel()
	u := *a.base
	u.Path, u.RawQuery = r.path, r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), r.body)
	if err != nil {
		return nil, failure(Misused, "%s %s: %w", r.method, r.path, err)
	}
	req.Header.Set("User-Agent", "mailclient")
	if r.body != nil {
		req.ContentLength = r.size
		req.Header.Set("Content-Type", r.kind)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, a.failed(ctx, r, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, problem(r, resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.most+1))
	if err != nil {
		return nil, a.failed(ctx, r, err)
	}
	if int64(len(body)) > r.most {
		return nil, failure(ProtocolBroken, "%s %s: the answer has more than %d bytes", r.method, r.path, r.most)
	}
	return body, nil
}

func (a *api) failed(ctx context.Context, r request, err error) error {
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err // it quotes the whole URL, with the addresses
	}
	// The error may be that of the write, which the end of the reading cut off.
	if other := a.other.Load(); other != nil {
		return failure(ProtocolBroken, "%s %s: %w", r.method, r.path, other)
	}
	o := HostGone
	timeout := net.Error(nil)
	op := (*net.OpError)(nil)
	text := strings.TrimPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: ")
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		o = TryAgain
	// net/http has no types for these.
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "gave HTTP response"):
		o = Denied
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	case strings.Contains(text, "malformed"), strings.Contains(text, "headers exceeded"):
		o = ProtocolBroken
	}
	return failure(o, "%s %s: %s", r.method, r.path, wire.Printable(text))
}

// problem reads the reason of a refusal (RFC 9457).
func problem(r request, resp *http.Response) error {
	o := MessageRefused
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		o = Denied
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode/100 == 5:
		o = TryAgain
	case resp.StatusCode/100 != 4:
		o = ProtocolBroken
	}
	text := http.StatusText(resp.StatusCode)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "application/problem+json" {
		var p struct{ Title, Detail string }
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxHTTPError))
		if err == nil && json.Unmarshal(b, &p) == nil {
			if p.Title != "" {
				text = p.Title
			}
			if p.Detail != "" && p.Detail != p.Title {
				text += ": " + p.Detail
			}
		}
	}
	return failure(o, "%s %s: the server says %d %s", r.method, r.path, resp.StatusCode, wire.Printable(cut(text, 1000)))
}

// isID is the form of the ids and cursors of the API.
func isID(s string) bool {
	const most = 128
	if s == "" || len(s) > most {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
