package smtpd

import (
	"encoding/json"
	"strings"
	"time"

	"postern.example/smtpd/inbox"
)

// The bounds of what is kept of a conversation, which may last for days.
const (
	maxLineText   = 512     // bytes of one line
	maxTranscript = 8 << 10 // bytes of one list of lines, each with lineCost
	lineCost      = 64
	maxRefused    = 32
)

// transcript keeps what was said, in both directions and in time: the session
// from its beginning, how it opened, and what belongs to the message under way.
// Not safe for concurrent use.
type transcript struct {
	now     func() time.Time
	start   time.Time
	session lines // from the beginning, as far as it fits
	opening lines // up to the first MAIL
	since   lines // since then, or since the last message
	begun   bool  // there was a MAIL
	refused []inbox.Line
}

// lines are bounded; what does not fit is counted.
type lines struct {
	list []inbox.Line
	size int
	cut  int
}

func (l *lines) add(line inbox.Line) {
	if l.size += len(line.Text) + lineCost; l.size > maxTranscript {
		l.cut++
		return
	}
	l.list = append(l.list, line)
}

func newTranscript(now func() time.Time) *transcript {
	return &transcript{now: now, start: now()}
}

func (t *transcript) client(text string, bytes int) {
	if !t.begun && len(text) >= 5 && strings.EqualFold(text[:5], "MAIL ") {
		t.begun = true
	}
	t.add(inbox.FromClient, text, bytes)
}

// server keeps a reply, whose lines may be several.
func (t *transcript) server(reply string) {
	for line := range strings.SplitSeq(reply, "\r\n") {
		t.add(inbox.FromServer, line, len(line)+2)
	}
	if (reply[0] == '4' || reply[0] == '5') && len(t.refused) < maxRefused {
		t.refused = append(t.refused, inbox.Line{At: t.at(), From: inbox.FromServer, Text: reply, Bytes: len(reply) + 2})
	}
}

func (t *transcript) network(text string) { t.add(inbox.FromNetwork, text, 0) }

func (t *transcript) at() time.Duration { return t.now().Sub(t.start) }

func (t *transcript) add(from, text string, bytes int) {
	if len(text) > maxLineText {
		text = strings.ToValidUTF8(text[:maxLineText], "") + " (cut)"
	}
	line := inbox.Line{At: t.at(), From: from, Text: text, Bytes: bytes}
	t.session.add(line)
	if t.begun {
		t.since.add(line)
	} else {
		t.opening.add(line)
	}
}

// message is what belongs to the message under way: the opening, and what was
// said since the last message.
func (t *transcript) message() []byte {
	all := append(t.opening.list[:len(t.opening.list):len(t.opening.list)], t.since.list...)
	if n := t.opening.cut + t.since.cut; n > 0 {
		all = append(all, inbox.Line{At: t.at(), From: inbox.FromNetwork, Text: "(lines were left out)"})
	}
	return encodeLines(all)
}

// next begins the lines of another message, and returns what was said since
// mark lines of this one: the reply to its end.
func (t *transcript) next(mark int) []byte {
	tail := encodeLines(t.since.list[min(mark, len(t.since.list)):])
	t.since = lines{}
	return tail
}

// encodeLines writes each line as JSON on a line of its own.
func encodeLines(list []inbox.Line) []byte {
	var out []byte
	for _, l := range list {
		text, err := json.Marshal(l)
		if err != nil {
			continue // not possible: a Line holds strings and numbers
		}
		out = append(append(out, text...), '\n')
	}
	return out
}
