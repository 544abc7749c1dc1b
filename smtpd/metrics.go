package smtpd

import (
	"errors"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postern.example/smtpd/admit"
)

// metrics are what /metrics tells. No label holds anything that a client can
// choose: their number is bounded by what is written here.
type metrics struct {
	registry *prometheus.Registry
	sessions *prometheus.CounterVec // by listener
	replies  *prometheus.CounterVec // by code
	closed   *prometheus.CounterVec // by why
	accepted *prometheus.CounterVec // messages by road: smtp, lmtp, http
	bytes    prometheus.Counter     // of accepted messages
	auth     *prometheus.CounterVec // by result
	tls      *prometheus.CounterVec // by result
	commit   prometheus.Histogram   // seconds from the end of a body to its place on disk
}

func newMetrics(s *Server) *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "smtpd", Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "smtpd", Name: name, Help: help}, value)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		sessions: vec("sessions_total", "Connections served, by listener.", "listener"),
		replies:  vec("replies_total", "Replies to clients, by code.", "code"),
		closed:   vec("closed_total", "Sessions ended, by why.", "cause"),
		accepted: vec("messages_total", "Messages accepted, by road.", "via"),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Namespace: "smtpd", Name: "message_bytes_total", Help: "Bytes of the messages accepted."}),
		auth:     vec("auth_total", "Attempts to authenticate, by result.", "result"),
		tls:      vec("tls_handshakes_total", "TLS handshakes, by result.", "result"),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "smtpd", Name: "commit_seconds", Help: "From the end of a message to its place on disk.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16),
		}),
	}
	m.registry.MustRegister(m.sessions, m.replies, m.closed, m.accepted, m.bytes, m.auth, m.tls, m.commit,
		gauge("sessions", "Connections at this moment.", func() float64 { return float64(s.sessions.count()) }),
		gauge("store_messages", "Messages in the store.", func() float64 { n, _ := s.store.Totals(); return float64(n) }),
		gauge("store_bytes", "Bytes of the messages in the store.", func() float64 { _, n := s.store.Totals(); return float64(n) }),
		gauge("admission_banned", "Addresses and networks that are banned.", func() float64 { return float64(s.snapshot().Banned) }),
		gauge("admission_tracked", "Addresses and networks that are remembered.", func() float64 { return float64(s.snapshot().Tracked) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, reason := range admit.Reasons() {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "smtpd", Name: "refusals_total", Help: "What admission refused, by reason.",
			ConstLabels: prometheus.Labels{"reason": string(reason)},
		}, func() float64 { return float64(s.snapshot().Refused[reason]) }))
	}
	return m
}

func (s *Server) snapshot() admit.Snapshot { return s.tracker.Snapshot(s.cfg.now()) }

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// closedBy names why a session ended, in one of a few words.
func closedBy(cause error) string {
	for _, c := range []struct {
		err  error
		word string
	}{
		{errDraining, "draining"}, {errIdle, "idle"}, {errLineLong, "line-too-long"}, {errNewline, "bare-newline"},
		{errControl, "control-character"}, {errFraming, "framing"}, {errEndless, "oversized"}, {errCutShort, "cut-short"},
		{errInjected, "injected"}, {errHandshake, "handshake"}, {errProxy, "proxy"}, {io.EOF, "eof"}, {errDone, "quit"},
	} {
		if errors.Is(cause, c.err) {
			return c.word
		}
	}
	if errors.As(cause, new(refusal)) {
		return "refused"
	}
	return "connection"
}
