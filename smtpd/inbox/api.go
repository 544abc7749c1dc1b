package inbox

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"postern.example/smtpd/message"
	"postern.example/smtpd/store"
)

const (
	defaultLimit = 50
	maxLimit     = 1000
)

// Summary is one message in a list.
type Summary struct {
	ID             string    `json:"id"`
	Received       time.Time `json:"received"`
	MailFrom       string    `json:"mail_from"`
	RcptTo         []string  `json:"rcpt_to"`
	From           string    `json:"from"`
	To             []string  `json:"to"`
	Subject        string    `json:"subject"`
	Size           int64     `json:"size"` // bytes of /raw
	HasAttachments bool      `json:"has_attachments"`
	Unparsed       bool      `json:"unparsed"` // the message is broken; it is kept as it came
}

// List is one page of messages, newest first.
type List struct {
	Messages   []Summary `json:"messages"`
	Next       string    `json:"next"` // cursor of the next page; empty at the end
	Head       string    `json:"head"` // cursor of the newest message
	Total      int64     `json:"total"`
	TotalExact bool      `json:"total_exact"`
}

// Message is one message with its envelope and its parts.
type Message struct {
	Summary
	Fault    string         `json:"fault,omitempty"` // why it is unparsed
	Envelope store.Envelope `json:"envelope"`
	Parts    []message.Part `json:"parts"`
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, before := defaultLimit, int64(0)
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			problem(w, http.StatusBadRequest, "limit is not a number")
			return
		}
		limit = min(max(n, 1), maxLimit)
	}
	if text := q.Get("cursor"); text != "" {
		n, ok := parseCursor(text)
		if !ok {
			problem(w, http.StatusBadRequest, "cursor is not one that this server gave out")
			return
		}
		before = n
	}
	if q.Get("q") != "" {
		problem(w, http.StatusBadRequest, "this version does not search: leave q out")
		return
	}
	page, err := h.Store.List(r.Context(), before, limit)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	l := List{Messages: []Summary{}, Next: formatCursor(page.Next), Head: formatCursor(page.Head), Total: page.Total, TotalExact: true}
	for _, e := range page.Entries {
		sum, _, err := h.read(r.Context(), e, false)
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			h.fail(w, r, err)
			return
		}
		l.Messages = append(l.Messages, summary(e, sum))
	}
	reply(w, http.StatusOK, l)
}

// Cursors are positions. They are written so that nobody takes them for a count.
func formatCursor(seq int64) string {
	if seq == 0 {
		return ""
	}
	return "c" + strconv.FormatInt(seq, 36)
}

func parseCursor(s string) (int64, bool) {
	if len(s) < 2 || s[0] != 'c' {
		return 0, false
	}
	n, err := strconv.ParseInt(s[1:], 36, 64)
	return n, err == nil && n > 0
}

// read returns what is inside a message: as it was recorded, or, when that has
// not happened yet or parts are wanted, from its bytes.
func (h *handler) read(ctx context.Context, e store.Entry, parts bool) (message.Summary, []message.Part, error) {
	if e.Summary != nil && !parts {
		return *e.Summary, nil, nil
	}
	raw, err := h.Store.Raw(ctx, e.ID)
	if err != nil {
		return message.Summary{}, nil, err
	}
	defer raw.Close()
	return message.Read(raw)
}

func summary(e store.Entry, sum message.Summary) Summary {
	s := Summary{
		ID: e.ID, Received: e.Received, MailFrom: e.Envelope.MailFrom, RcptTo: []string{},
		From: sum.From, To: sum.To, Subject: sum.Subject, Size: e.Size,
		HasAttachments: sum.HasAttachments, Unparsed: sum.Unparsed,
	}
	for _, r := range e.Envelope.RcptTo {
		s.RcptTo = append(s.RcptTo, r.Address)
	}
	if s.To == nil {
		s.To = []string{}
	}
	return s
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	e, err := h.Store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	sum, parts, err := h.read(r.Context(), e, true)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if parts == nil {
		parts = []message.Part{}
	}
	reply(w, http.StatusOK, Message{Summary: summary(e, sum), Fault: sum.Fault, Envelope: e.Envelope, Parts: parts})
}

func (h *handler) raw(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	raw, err := h.Store.Raw(r.Context(), id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer raw.Close()
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Disposition", `attachment; filename="`+id+`.eml"`)
	http.ServeContent(w, r, "", time.Time{}, raw)
}

func (h *handler) delete(w http.ResponseWriter, r *http.Request) {
	if err := h.Store.Delete(r.Context(), r.PathValue("id")); err != nil {
		h.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) deleteMany(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("q") {
	case "*":
	case "":
		problem(w, http.StatusBadRequest, "q says what to delete; q=* is all")
		return
	default:
		problem(w, http.StatusBadRequest, "this version deletes one message by its id, or all with q=*")
		return
	}
	if _, err := h.Store.DeleteAll(r.Context()); err != nil {
		h.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) post(w http.ResponseWriter, r *http.Request) {
	if typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || typ != "message/rfc822" {
		problem(w, http.StatusUnsupportedMediaType, "Content-Type is not message/rfc822")
		return
	}
	q := r.URL.Query()
	if !q.Has("from") || len(q["from"]) > 1 || !q.Has("to") {
		problem(w, http.StatusBadRequest, "one from and at least one to are needed")
		return
	}
	if r.ContentLength > h.MaxSize {
		problem(w, http.StatusRequestEntityTooLarge, "the message is over the size limit")
		return
	}
	// One byte more than allowed tells a message of just that size from a longer one.
	body := http.MaxBytesReader(w, r.Body, h.MaxSize+1)
	id, err := h.Receive(r.Context(), q.Get("from"), q["to"], r.RemoteAddr, &clientReader{r: body})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("Location", "/api/v1/messages/"+id)
	reply(w, http.StatusCreated, map[string]string{"id": id})
}

// clientReader makes a failure to read the request's body the client's.
type clientReader struct{ r io.Reader }

func (c *clientReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	var tooLong *http.MaxBytesError
	if err != nil && err != io.EOF && !errors.As(err, &tooLong) {
		err = &Refusal{Status: http.StatusBadRequest, Cause: errors.New("the body ended before its length")}
	}
	return n, err
}
