package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"postern.example/smtpd/admit"
	"postern.example/smtpd/inbox"
	"postern.example/smtpd/store"
)

// Server is one smtpd. Make it with New, run it once with Run.
type Server struct {
	cfg      Config
	store    *store.Store
	cert     atomic.Pointer[certificate] // nil without TLS
	users    atomic.Pointer[Users]
	sessions sessions
	tracker  *admit.Tracker
	recent   *recent
	metrics  *metrics
	draining atomic.Bool
}

// New checks cfg, every fault of it at once, and touches nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	tracker, err := admit.New(cfg.Admit)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, tracker: tracker, recent: newRecent()}
	s.metrics = newMetrics(s)
	return s, nil
}

// Run serves until ctx ends, drains, and returns nil once every goroutine,
// connection and file is gone. Any error is of the environment: a port in use,
// a folder that cannot be written, a store that cannot be opened.
func (s *Server) Run(ctx context.Context) (err error) {
	if s.cfg.Ephemeral {
		dir, err := os.MkdirTemp("", "smtpd-")
		if err != nil {
			return fmt.Errorf("make temporary folder: %w", err)
		}
		defer os.RemoveAll(dir)
		s.cfg.Store = "sqlite:" + filepath.Join(dir, storeName)
	}
	if s.store, err = store.Open(ctx, s.cfg.Store); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if err := s.openSecrets(); err != nil {
		return err
	}

	var l listeners
	if err := l.open(ctx, s.cfg, s.cert.Load()); err != nil {
		l.close()
		return err
	}
	return s.serve(ctx, l)
}

// openSecrets loads the certificate and the users, where there are any.
func (s *Server) openSecrets() error {
	if s.cfg.hasTLS() {
		dir := filepath.Dir(strings.TrimPrefix(s.cfg.Store, "sqlite:"))
		cert, err := openCertificate(s.cfg, dir)
		if err != nil {
			return err
		}
		s.cert.Store(cert)
	}
	if s.cfg.Auth == AuthUsers {
		u, err := LoadUsers(s.cfg.Users)
		if err != nil {
			return err
		}
		s.users.Store(u)
	}
	allow, block, err := loadLists(s.cfg)
	if err != nil {
		return err
	}
	s.tracker.SetLists(allow, block)
	return nil
}

// Reload reads certificate, users and lists again, which is what SIGHUP asks for. What
// cannot be read stays as it was, and the error, which is logged too, says so.
// Safe for concurrent use with Run.
func (s *Server) Reload() error {
	var errs []error
	if cert := s.cert.Load(); cert != nil {
		errs = append(errs, cert.reload())
	}
	if s.cfg.Auth == AuthUsers {
		u, err := LoadUsers(s.cfg.Users)
		if err == nil {
			s.users.Store(u)
		}
		errs = append(errs, err)
	}
	allow, block, err := loadLists(s.cfg)
	if err == nil {
		s.tracker.SetLists(allow, block)
	}
	err = errors.Join(append(errs, err)...)
	if err != nil {
		s.cfg.Log.Error("reload", "cause", err)
	} else {
		s.cfg.Log.Info("reloaded")
	}
	return err
}

// listeners are all that a Server is bound to.
type listeners struct {
	mail []endpoint
	http net.Listener // nil when off
}

func (l *listeners) open(ctx context.Context, cfg Config, cert *certificate) (err error) {
	if l.mail, err = openEndpoints(ctx, cfg, cert); err != nil || cfg.HTTP == Off {
		return err
	}
	l.http, err = listen(ctx, "http", "tcp", cfg.HTTP)
	return err
}

func (l *listeners) close() {
	for _, e := range l.mail {
		e.Close()
	}
	if l.http != nil {
		l.http.Close()
	}
}

func (l *listeners) bound(cfg Config) Bound {
	b := Bound{Data: strings.TrimPrefix(cfg.Store, "sqlite:")}
	for _, e := range l.mail {
		switch e.role {
		case roleSMTP:
			b.SMTP = append(b.SMTP, e.Addr())
		case roleSubmission:
			b.Submission = append(b.Submission, e.Addr())
		case roleSMTPS:
			b.SMTPS = append(b.SMTPS, e.Addr())
		case roleLMTP:
			b.LMTP = append(b.LMTP, e.Addr())
		}
	}
	if l.http != nil {
		b.HTTP = l.http.Addr()
	}
	return b
}

// serve runs everything over bound listeners and an open store.
func (s *Server) serve(ctx context.Context, l listeners) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx)) // outlives the drain
	defer stopWork()
	var wg sync.WaitGroup

	wg.Go(func() { s.afterwards(work) })
	for _, e := range l.mail {
		wg.Go(func() { s.accept(ctx, e) })
	}
	web := s.web(work)
	if l.http != nil {
		wg.Go(func() {
			if err := web.Serve(netutil.LimitListener(l.http, maxHTTP)); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve http: %w", err))
			}
		})
	}

	s.announce(l.bound(s.cfg))
	<-ctx.Done()
	s.draining.Store(true)
	s.cfg.Log.Info("draining", "at_most", s.cfg.limit.drain)
	for _, e := range l.mail {
		e.Close()
	}
	by := time.Now().Add(s.cfg.limit.drain)
	s.sessions.drain(by)

	// The API answers to the last: what was accepted can still be read.
	down, cancelDown := context.WithDeadline(context.WithoutCancel(ctx), by.Add(time.Second))
	defer cancelDown()
	if err := web.Shutdown(down); err != nil {
		web.Close()
	}
	if l.http != nil {
		l.http.Close()
	}
	stopWork()
	wg.Wait()
	if err := s.appendReplies(context.WithoutCancel(ctx)); err != nil {
		s.cfg.Log.Error("index", "cause", err)
	}
	s.cfg.Log.Info("stopped")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

func (s *Server) announce(b Bound) {
	attrs := []any{slog.Any("smtp", addrs(b.SMTP))}
	for _, more := range []struct {
		name  string
		addrs []net.Addr
	}{{"submission", b.Submission}, {"smtps", b.SMTPS}, {"lmtp", b.LMTP}} {
		if len(more.addrs) > 0 {
			attrs = append(attrs, slog.Any(more.name, addrs(more.addrs)))
		}
	}
	if b.HTTP != nil {
		attrs = append(attrs, slog.String("http", b.HTTP.String()))
	}
	s.cfg.Log.Info("ready", append(attrs, slog.String("store", b.Data))...)
	if s.cfg.Ready != nil {
		s.cfg.Ready(b)
	}
}

func addrs(list []net.Addr) []string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return texts
}

// maxHTTP is how many connections the API serves at once.
const maxHTTP = 512

// web is the HTTP server: the API over the store, with the same receive as SMTP.
func (s *Server) web(ctx context.Context) *http.Server {
	return &http.Server{
		Handler: inbox.New(inbox.Config{
			Store:    s.store,
			Hostname: s.cfg.Hostname,
			MaxSize:  int64(s.cfg.MaxSize),
			Draining: s.draining.Load,
			Log:      s.cfg.Log,
			Metrics:  s.metrics.handler(),
			Sessions: s.recent.list,
			Tail:     s.recent.tail,
			Receive: func(ctx context.Context, from string, to []string, remote string, r io.Reader) (string, error) {
				env, err := ParseEnvelope(from, to)
				if err != nil {
					return "", &inbox.Refusal{Status: http.StatusBadRequest, Cause: err}
				}
				env.Via, env.Remote = "HTTP", remote
				id, _, err := s.receive(ctx, env, r, nil)
				if errors.Is(err, errTooLarge) {
					err = &inbox.Refusal{Status: http.StatusRequestEntityTooLarge, Cause: err}
				}
				return id, err
			},
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       5 * time.Minute,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
}
