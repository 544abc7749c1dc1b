package mailclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"postern.example/mailclient/wire"
)

// Trace is all that happened in one conversation, in order.
type Trace struct {
	Events []wire.Event
	Total  time.Duration // from before the look-up until the connection was closed
}

// Sum counts what travelled in a Trace.
type Sum struct {
	Sent     int64 `json:"bytes_sent"`     // before TLS, without the headers of TCP and IP
	Received int64 `json:"bytes_received"` // likewise
	Writes   int   `json:"writes"`         // of commands, or of a message as a whole
	// Waits counts how often the client stood still until the server had
	// answered: one for the greeting, one for each group of commands.
	Waits int `json:"waits"`
}

// Sum adds the trace up.
func (t Trace) Sum() Sum {
	var s Sum
	last := wire.Network
	for _, e := range t.Events {
		switch e.From {
		case wire.Client:
			s.Sent += e.Bytes
			s.Writes = max(s.Writes, e.Write)
		case wire.Remote:
			s.Received += e.Bytes
			if last != wire.Remote {
				s.Waits++
			}
		}
		last = e.From
	}
	return s
}

// MarshalJSON gives the events with their meaning, durations in nanoseconds.
func (t Trace) MarshalJSON() ([]byte, error) {
	type event struct {
		wire.Event
		Meaning string `json:"meaning"`
	}
	out := struct {
		Events []event       `json:"events"`
		Total  time.Duration `json:"total"`
		Sum
	}{Events: make([]event, len(t.Events)), Total: t.Total, Sum: t.Sum()}
	for i, m := range t.Meanings() {
		out.Events[i] = event{t.Events[i], m}
	}
	return marshal(out)
}

// marshal is json.Marshal without the escapes for HTML: < and > are in every
// address.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// TraceOptions shape what WriteTrace writes.
type TraceOptions struct {
	// Width is the columns to fill; 0 is 120, and 80 is the least.
	Width int
}

// WriteTrace writes the trace as a table: when, how long, who, the line as it
// travelled and what it means, with TCP's connect as the first rows and the
// total as the last. Whatever a server said is shown through wire.Printable.
func WriteTrace(w io.Writer, t Trace, o TraceOptions) error {
	if o.Width == 0 {
		o.Width = 120
	}
	// Time, took, direction and the rules between the columns take 38.
	rest := max(o.Width, 80) - 38
	g := grid{
		head:  []string{"at ms", "took ms", "who", "on the wire", "what it means"},
		width: []int{10, 10, 3, rest * 11 / 20, rest - rest*11/20},
		right: []bool{true, true, false, false, false},
	}
	write := 0
	for i, m := range t.Meanings() {
		e := t.Events[i]
		text := wire.Printable(e.Text)
		if e.Kind == wire.Connect && !e.Failed {
			text = "TCP connection to " + text
			if e.Verb == "unix" {
				text = "connection to " + wire.Printable(e.Text)
			}
		}
		if e.Write > 0 && e.Write == write && e.From == wire.Client {
			m = "(same write) " + m
		}
		write = max(write, e.Write)
		g.rows = append(g.rows, []string{millis(e.At), took(e.Took), arrow(e.From), text, m})
	}
	s := t.Sum()
	g.foot = []string{millis(t.Total), "", "", "total", fmt.Sprintf("%d bytes sent, %d received, %s for the server", s.Sent, s.Received, count(s.Waits, "wait"))}
	return g.write(w)
}

func arrow(s wire.Side) string {
	switch s {
	case wire.Client:
		return "C:"
	case wire.Remote:
		return "S:"
	}
	return "--"
}

// millis shows a time in milliseconds: a loopback round trip takes hundredths.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond))
}

func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return millis(d)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// firstWord is the start of a line up to a blank, in capitals.
func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return strings.ToUpper(w)
}
