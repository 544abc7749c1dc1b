package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"postern.example/smtpd/store"
)

// Config is what the handler works on. All fields but Log are needed.
type Config struct {
	Store    *store.Store
	Hostname string      // a Host by which a browser may ask for us, besides loopback names
	MaxSize  int64       // bytes of one message
	Draining func() bool // tells whether the server is about to stop
	Log      *slog.Logger

	Metrics  http.Handler           // what /metrics serves
	Sessions func() []Session       // the connections that ended last, newest first
	Tail     func(seq int64) []byte // lines of a transcript that are not in the store yet

	// Receive takes a message, whose bytes HTTP has framed: what SMTP would refuse
	// in them, such as a bare LF, is kept as it is. A Refusal among its errors is the
	// client's fault; store.ErrFull says that there is no room.
	Receive func(ctx context.Context, from string, to []string, remote string, r io.Reader) (id string, err error)
}

// Refusal is an error that the client has made: its text may be shown to it.
type Refusal struct {
	Status int
	Cause  error
}

func (r *Refusal) Error() string { return r.Cause.Error() }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// New returns the handler. It is safe for concurrent use.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{Config: cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/messages", h.list)
	mux.HandleFunc("POST /api/v1/messages", h.post)
	mux.HandleFunc("DELETE /api/v1/messages", h.deleteMany)
	mux.HandleFunc("GET /api/v1/messages/{id}", h.get)
	mux.HandleFunc("DELETE /api/v1/messages/{id}", h.delete)
	mux.HandleFunc("GET /api/v1/messages/{id}/raw", h.raw)
	mux.HandleFunc("GET /api/v1/messages/{id}/transcript", h.transcript)
	mux.HandleFunc("GET /api/v1/sessions", h.sessions)
	mux.HandleFunc("GET /healthz", h.healthz)
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /{$}", h.root)
	return h.guard(h.problems(mux))
}

type handler struct{ Config }

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(Problem{Title: http.StatusText(status), Status: status, Detail: detail})
}

// problems gives the mux's own refusals, which are text, our form: an unknown
// path, a method that a path does not have.
func (h *handler) problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		s := &statusOnly{header: http.Header{}}
		mux.ServeHTTP(s, r)
		if allow := s.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		if loc := s.header.Get("Location"); loc != "" {
			w.Header().Set("Location", loc)
		}
		problem(w, s.status, "")
	})
}

// statusOnly is a ResponseWriter that keeps the header and drops the body.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

// fail answers an error of the store or of Receive.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *Refusal
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &refusal):
		problem(w, refusal.Status, refusal.Error())
	case errors.As(err, &tooLong):
		problem(w, http.StatusRequestEntityTooLarge, "the message is over the size limit")
	case errors.Is(err, store.ErrNotFound):
		problem(w, http.StatusNotFound, "there is no such message")
	case errors.Is(err, store.ErrFull):
		h.Log.Error("http", "path", r.URL.Path, "cause", err)
		problem(w, http.StatusInsufficientStorage, "no room for the message: try again later")
	case r.Context().Err() != nil:
		// Nobody is there to be answered.
	default:
		h.Log.Error("http", "path", r.URL.Path, "cause", err)
		problem(w, http.StatusInternalServerError, "the store could not do it: see the server's log")
	}
}

func (h *handler) healthz(w http.ResponseWriter, _ *http.Request) {
	if h.Draining() {
		problem(w, http.StatusServiceUnavailable, "draining")
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (h *handler) root(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "Postern smtpd. What it has stored is at /api/v1/messages.\n")
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
