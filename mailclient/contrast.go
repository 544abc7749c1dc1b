package mailclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"postern.example/mailclient/wire"
)

// ContrastOptions say where the same message goes both ways.
type ContrastOptions struct {
	SMTP Options
	HTTP string // http://host:port of smtpd; "" is DefaultHTTP
	Runs int    // how often each way is gone, on a new connection each time; 0 is 1
}

// Way is what one way of carrying a message cost: the median of its runs.
// Octets are those that passed the connection, TLS included where it is used,
// without the headers of TCP and IP.
type Way struct {
	Sent      int64         `json:"bytes_sent"`
	Received  int64         `json:"bytes_received"`
	Writes    int64         `json:"writes"`
	Waits     int64         `json:"waits"` // the other side had to be waited for; TCP's handshake is one more
	Connect   time.Duration `json:"connect"`
	FirstByte time.Duration `json:"first_byte"` // from the other side
	Accepted  time.Duration `json:"accepted"`   // the verdict was there
	Total     time.Duration `json:"total"`      // the connection was closed
	ID        string        `json:"id,omitempty"`
}

// Comparison is the outcome of Contrast.
type Comparison struct {
	Size       int64 `json:"size"` // octets of the message
	Recipients int   `json:"recipients"`
	Runs       int   `json:"runs"`
	SMTP       Way   `json:"smtp"`
	HTTP       Way   `json:"http"`
}

// Contrast carries m by SMTP and by a POST of the same bytes to smtpd's HTTP
// API, in turns, and measures both on the connection. An error is a *Failure.
func Contrast(ctx context.Context, o ContrastOptions, m *Message) (*Comparison, error) {
	if o.Runs <= 0 {
		o.Runs = 1
	}
	if o.SMTP.Dial != nil {
		return nil, failure(Misused, "the dialer is the measure's own")
	}
	c := &Comparison{Size: m.Size(), Recipients: len(m.To), Runs: o.Runs}
	var smtp, post []Way
	ways := []func() error{
		func() error {
			w, err := viaSMTP(ctx, o.SMTP, m)
			smtp = append(smtp, w)
			return err
		},
		func() error {
			w, err := viaHTTP(ctx, o, m)
			post = append(post, w)
			return err
		},
	}
	for range o.Runs {
		for _, carry := range ways {
			if err := carry(); err != nil {
				return nil, err
			}
		}
		slices.Reverse(ways) // neither way is always the one that finds all cold
	}
	c.SMTP, c.HTTP = median(smtp), median(post)
	return c, nil
}

func viaSMTP(ctx context.Context, o Options, m *Message) (Way, error) {
	meter := newMeter()
	o.Dial = meter.dial
	res, err := Send(ctx, o, m)
	if err != nil {
		var f *Failure
		if errors.As(err, &f) {
			return Way{}, failure(f.Outcome, "by SMTP: %w", f.Err)
		}
		return Way{}, err
	}
	w := meter.way(time.Since(meter.start))
	for _, e := range res.Trace.Events {
		if e.Verb == "." && e.From == wire.Remote {
			w.Accepted = e.At
		}
	}
	w.ID = queueID(res.Recipients[0].Text)
	return w, nil
}

func viaHTTP(ctx context.Context, o ContrastOptions, m *Message) (Way, error) {
	meter := newMeter()
	a, err := newAPI(o.HTTP, o.SMTP.Timeout, meter.dial)
	if err != nil {
		return Way{}, err
	}
	q := url.Values{"from": {m.From.String()}}
	for _, to := range m.To {
		q.Add("to", to.String())
	}
	const most = 64 << 10
	body, err := a.do(ctx, request{
		method: http.MethodPost, path: "/api/v1/messages", query: q,
		kind: "message/rfc822", body: m.Open(), size: m.Size(), most: most,
	})
	accepted := time.Since(meter.start)
	a.close()
	if err != nil {
		var f *Failure
		if errors.As(err, &f) {
			return Way{}, failure(f.Outcome, "by HTTP: %w", f.Err)
		}
		return Way{}, err
	}
	w := meter.way(time.Since(meter.start))
	w.Accepted = accepted
	var answer struct{ ID string }
	if err := json.Unmarshal(body, &answer); err != nil || !isID(answer.ID) {
		return Way{}, failure(ProtocolBroken, "by HTTP: the answer has no id")
	}
	w.ID = answer.ID
	return w, nil
}

func (m *meter) way(total time.Duration) Way {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Way{
		Sent: m.out, Received: m.in, Writes: int64(m.writes), Waits: int64(m.bursts),
		Connect: m.connect, FirstByte: m.first, Total: total,
	}
}

// median takes each figure's own median; the id is the last run's.
func median(w []Way) Way {
	return Way{
		Sent:      middle(w, func(w Way) int64 { return w.Sent }),
		Received:  middle(w, func(w Way) int64 { return w.Received }),
		Writes:    middle(w, func(w Way) int64 { return w.Writes }),
		Waits:     middle(w, func(w Way) int64 { return w.Waits }),
		Connect:   middle(w, func(w Way) time.Duration { return w.Connect }),
		FirstByte: middle(w, func(w Way) time.Duration { return w.FirstByte }),
		Accepted:  middle(w, func(w Way) time.Duration { return w.Accepted }),
		Total:     middle(w, func(w Way) time.Duration { return w.Total }),
		ID:        w[len(w)-1].ID,
	}
}

func middle[T int64 | time.Duration](w []Way, of func(Way) T) T {
	v := make([]T, len(w))
	for i := range w {
		v[i] = of(w[i])
	}
	slices.Sort(v)
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return v[n/2-1]/2 + v[n/2]/2 + (v[n/2-1]%2+v[n/2]%2)/2
}
