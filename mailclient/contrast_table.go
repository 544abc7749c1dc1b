package mailclient

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// ContrastTableOptions shape what WriteContrast writes.
type ContrastTableOptions struct {
	// Width is the columns to fill; 0 is 120, and 80 is the least.
	Width int
}

// WriteContrast writes the measured figures of both ways, and below them what
// is different about the ways themselves.
func WriteContrast(w io.Writer, c *Comparison, o ContrastTableOptions) error {
	if o.Width == 0 {
		o.Width = 120
	}
	first := 22
	rest := (max(o.Width, 80) - first - 8) / 2
	g := grid{head: []string{"", "SMTP", "HTTP POST"}, width: []int{first, rest, rest}}
	row := func(name, smtp, http string) { g.rows = append(g.rows, []string{name, smtp, http}) }

	s, h := c.SMTP, c.HTTP
	bytes := func(n int64) string { return fmt.Sprintf("%d", n) }
	over := func(n int64) string { return fmt.Sprintf("%+d", n-c.Size) }
	both := func(name string, show func(Way) string) { row(name, show(s), show(h)) }
	both("bytes sent", func(w Way) string { return bytes(w.Sent) })
	both("  beyond the message", func(w Way) string { return over(w.Sent) })
	both("bytes received", func(w Way) string { return bytes(w.Received) })
	both("writes", func(w Way) string { return bytes(w.Writes) })
	both("round trips", func(w Way) string {
		return fmt.Sprintf("%d: TCP's handshake and %s for an answer", w.Waits+1, count(int(w.Waits), "wait"))
	})
	both("connected after", func(w Way) string { return ms(w.Connect) })
	both("first byte after", func(w Way) string { return ms(w.FirstByte) })
	both("accepted after", func(w Way) string { return ms(w.Accepted) })
	both("closed after", func(w Way) string { return ms(w.Total) })
	both("kept as", func(w Way) string { return w.ID })
	row("", "", "")
	for _, d := range differences {
		row(d[0], d[1], d[2])
	}

	runs := "one run each way"
	if c.Runs > 1 {
		runs = fmt.Sprintf("medians of %d runs each way", c.Runs)
	}
	if _, err := fmt.Fprintf(w, "The same message of %d bytes to %s.\nFigures: %s, on a new connection each time.\n\n",
		c.Size, count(c.Recipients, "recipient"), runs); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return g.write(w)
}

func ms(d time.Duration) string { return millis(d) + " ms" }

// differences are those that no measurement shows. The right column speaks of
// smtpd's POST /api/v1/messages where HTTP itself leaves it open.
var differences = [][3]string{
	{"who speaks first", "the server, with 220", "the client, with the request"},
	{"state", "the connection holds it: EHLO, MAIL, RCPT, DATA in this order", "none: a request says everything"},
	{"addressing", "an envelope of its own (MAIL, RCPT); the header may say something else", "the URL's query here; HTTP itself knows no recipients"},
	{"many recipients", "a verdict for each RCPT; some may fail while others pass", "one status for all of them"},
	{"success means", "250: the server has taken the responsibility over, for good", "201: it was created; what follows is each API's own promise"},
	{"who retries", "the sending server, from its queue, for days", "whoever wrote the client, or nobody"},
	{"answer lost", "after the dot: the sender tries again, and the mail may come twice", "the same; only an idempotency key of the API's own would help"},
	{"resume", "no: a broken transfer starts again", "no for a POST; a GET can go on by Range"},
	{"codes", "2xx, 354, 4xx try later, 5xx never; finer ones such as 5.1.1", "2xx, 3xx elsewhere, 4xx your fault, 5xx mine; details in the body"},
	{"encryption", "STARTTLS inside the conversation, or TLS from the start (465)", "TLS from the start, on a URL of its own (https)"},
	{"hops", "store and forward: each hop adds a Received field", "end to end; no proxy in between takes the responsibility over"},
	{"push and pull", "push only: fetching mail needs IMAP or POP3", "both: POST and GET"},
	{"framing", "a dot alone ends it, so leading dots are doubled; or BDAT with a count", "Content-Length, or chunks with their sizes"},
}

// queueID is the id in "Ok: queued as ID", where a server gives one.
func queueID(text string) string {
	_, id, ok := strings.Cut(text, "queued as ")
	if !ok {
		return ""
	}
	id, _, _ = strings.Cut(id, " ")
	return id
}
