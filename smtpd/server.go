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

	"postern.example/smtpd/inbox"
	"postern.example/smtpd/store"
)

// Server is one smtpd. Make it with New, run it once with Run.
type Server struct {
	cfg      Config
	store    *store.Store
	sessions sessions
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
	return &Server{cfg: cfg}, nil
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

	var l listeners
	if err := l.open(ctx, s.cfg); err != nil {
		l.close()
		return err
	}
	return s.serve(ctx, l)
}

// listeners are all that a Server is bound to.
type listeners struct {
	smtp []net.Listener
	http net.Listener // nil when off
}

func (l *listeners) open(ctx context.Context, cfg Config) error {
	for _, a := range cfg.SMTP {
		n, err := listen(ctx, "smtp", a)
		if err != nil {
			return err
		}
		l.smtp = append(l.smtp, n)
	}
	if cfg.HTTP == Off {
		return nil
	}
	n, err := listen(ctx, "http", cfg.HTTP)
	l.http = n
	return err
}

func listen(ctx context.Context, what, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the rest repeats what we say
		}
		return nil, fmt.Errorf("listen for %s on %s: %w", what, addr, err)
	}
	return l, nil
}

func (l *listeners) close() {
	for _, n := range l.smtp {
		n.Close()
	}
	if l.http != nil {
		l.http.Close()
	}
}

func (l *listeners) bound(cfg Config) Bound {
	b := Bound{Data: strings.TrimPrefix(cfg.Store, "sqlite:")}
	for _, n := range l.smtp {
		b.SMTP = append(b.SMTP, n.Addr())
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
	for _, n := range l.smtp {
		wg.Go(func() { s.accept(ctx, n) })
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
	s.cfg.Log.Info("draining")
	for _, n := range l.smtp {
		n.Close()
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
	s.cfg.Log.Info("stopped")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

func (s *Server) announce(b Bound) {
	attrs := []any{slog.Any("smtp", addrs(b.SMTP))}
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
			Receive: func(ctx context.Context, from string, to []string, remote string, r io.Reader) (string, error) {
				env, err := ParseEnvelope(from, to)
				if err != nil {
					return "", &inbox.Refusal{Status: http.StatusBadRequest, Cause: err}
				}
				env.Via, env.Remote = "HTTP", remote
				id, err := s.receive(ctx, env, r)
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
