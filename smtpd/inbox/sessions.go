package inbox

import (
	"bytes"
	"net/http"
	"time"
)

// Who said a Line.
const (
	FromClient  = "client"
	FromServer  = "server"
	FromNetwork = "network" // nobody: something happened, such as TLS
)

// Line is one line of a conversation.
type Line struct {
	At    time.Duration `json:"at"`    // ns since the client connected
	From  string        `json:"from"`  // client, server or network
	Text  string        `json:"text"`  // without CRLF; bodies and the secrets of AUTH are left out
	Bytes int           `json:"bytes"` // on the wire, before TLS
}

// Session is one connection that ended, whether it was served or refused.
type Session struct {
	ID           string    `json:"id"`
	Listener     string    `json:"listener"` // smtp, submission, smtps or lmtp
	Remote       string    `json:"remote"`
	Started      time.Time `json:"started"`
	Ended        time.Time `json:"ended"`
	Helo         string    `json:"helo"`
	TLS          string    `json:"tls,omitempty"`
	User         string    `json:"user,omitempty"`
	Messages     []string  `json:"messages"`        // ids of those accepted, the first hundred
	Refused      []Line    `json:"refused"`         // replies 4xx and 5xx, the first of them
	Cause        string    `json:"cause,omitempty"` // why it ended, when not by QUIT
	Transcript   []Line    `json:"transcript"`
	LinesLeftOut int       `json:"lines_left_out,omitempty"`
}

func (h *handler) sessions(w http.ResponseWriter, _ *http.Request) {
	list := h.Sessions()
	for i := range list {
		s := &list[i]
		if s.Messages == nil {
			s.Messages = []string{}
		}
		if s.Refused == nil {
			s.Refused = []Line{}
		}
		if s.Transcript == nil {
			s.Transcript = []Line{}
		}
	}
	if list == nil {
		list = []Session{}
	}
	reply(w, http.StatusOK, map[string][]Session{"sessions": list})
}

// transcript answers with the conversation that carried a message, as JSON
// lines.
func (h *handler) transcript(w http.ResponseWriter, r *http.Request) {
	e, err := h.Store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	tail := h.Tail(e.Seq) // before the store, so that it is in one of the two
	lines, err := h.Store.Transcript(r.Context(), e.Seq)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if !bytes.HasSuffix(lines, tail) {
		lines = append(lines, tail...)
	}
	w.Header().Set("Content-Type", "application/jsonl; charset=utf-8")
	w.Write(lines)
}
