package mailclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern.example/mailclient/address"
	"postern.example/mailclient/wire"
)

// ReadOptions say which message is read back.
type ReadOptions struct {
	HTTP    string          // http://host:port of smtpd; "" is DefaultHTTP
	ID      string          // "" or "newest": the newest
	To      address.Address // of the newest, the one for this recipient; zero: any
	Timeout time.Duration   // for each step; 0 is DefaultTimeout
}

// Received is a message as smtpd keeps it.
type Received struct {
	ID  string
	Raw []byte // smtpd's Received field, then the bytes that came
}

// Read fetches a message from smtpd's HTTP API. An error is a *Failure;
// TryAgain says that there is no such message yet.
func Read(ctx context.Context, o ReadOptions) (*Received, error) {
	a, err := newAPI(o.HTTP, o.Timeout, nil)
	if err != nil {
		return nil, err
	}
	defer a.close()
	id := o.ID
	if id == "" || id == "newest" {
		if id, err = a.newest(ctx, o.To); err != nil {
			return nil, err
		}
	} else if !isID(id) {
		return nil, failure(Misused, "%q is not an id", cut(id, 80))
	}
	raw, err := a.do(ctx, request{method: http.MethodGet, path: "/api/v1/messages/" + id + "/raw", most: DefaultMaxSize})
	if err != nil {
		return nil, err
	}
	return &Received{ID: id, Raw: raw}, nil
}

// newest looks through the list, newest first, page by page.
func (a *api) newest(ctx context.Context, to address.Address) (string, error) {
	const (
		page  = 100
		pages = 100
	)
	q := url.Values{"limit": {"1"}}
	if !to.IsZero() {
		q.Set("limit", fmt.Sprint(page))
	}
	for range pages {
		body, err := a.do(ctx, request{method: http.MethodGet, path: "/api/v1/messages", query: q, most: maxHTTPList})
		if err != nil {
			return "", err
		}
		var l struct {
			Messages []struct {
				ID     string   `json:"id"`
				RcptTo []string `json:"rcpt_to"`
			} `json:"messages"`
			Next string `json:"next"`
		}
		if err := json.Unmarshal(body, &l); err != nil {
			return "", failure(ProtocolBroken, "the list of messages: %w", err)
		}
		for _, m := range l.Messages {
			if !to.IsZero() && !slices.ContainsFunc(m.RcptTo, func(s string) bool { return sameMailbox(s, to) }) {
				continue
			}
			if !isID(m.ID) {
				return "", failure(ProtocolBroken, "the list of messages: %q is not an id", cut(m.ID, 80))
			}
			return m.ID, nil
		}
		if l.Next == "" || to.IsZero() {
			break
		}
		if !isID(l.Next) {
			return "", failure(ProtocolBroken, "the list of messages: %q is not a cursor", cut(l.Next, 80))
		}
		q.Set("cursor", l.Next)
	}
	if to.IsZero() {
		return "", failure(TryAgain, "there is no message yet")
	}
	return "", failure(TryAgain, "there is no message for %s yet", to)
}

// sameMailbox compares as mail does: the domain in any case.
func sameMailbox(s string, to address.Address) bool {
	a, err := address.Parse(s)
	return err == nil && a.Local() == to.Local() && strings.EqualFold(a.Domain(), to.Domain())
}

// WriteReceived writes a message for people: its main fields and its text,
// decoded, then its attachments by name. Nothing of it can move the cursor,
// colour the screen or turn the direction of the text.
func WriteReceived(w io.Writer, r *Received) error {
	c := decode(r.Raw)
	var b bytes.Buffer
	for _, f := range c.Fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, wire.Printable(f.Value))
	}
	b.WriteByte('\n')
	for line := range strings.Lines(c.Text) {
		line = strings.TrimRight(line, "\r\n")
		// A tab is text; the other controls are not.
		parts := strings.Split(line, "\t")
		for i := range parts {
			parts[i] = wire.Printable(parts[i])
		}
		b.WriteString(strings.Join(parts, "\t") + "\n")
	}
	for _, a := range c.Attachments {
		fmt.Fprintf(&b, "\n[attachment %s, %s, %s]\n", wire.Printable(a.Name), wire.Printable(a.Type), size(a.Size))
	}
	if c.Broken != "" {
		fmt.Fprintf(&b, "\n[the message is not well formed: %s]\n", wire.Printable(c.Broken))
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// MarshalJSON gives the id, the size and the decoded content.
func (r *Received) MarshalJSON() ([]byte, error) {
	return marshal(struct {
		ID   string `json:"id"`
		Size int    `json:"size"`
		content
	}{r.ID, len(r.Raw), decode(r.Raw)})
}
