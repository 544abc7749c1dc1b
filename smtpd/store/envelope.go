package store

import (
	"time"

	"postern.example/smtpd/message"
)

// Envelope is what the client said about a message outside of it, whole and in
// the order it was said (RFC 5321, section 2.3.1).
type Envelope struct {
	MailFrom   string      `json:"mail_from"`        // without brackets; empty is the null reverse-path
	MailParams []string    `json:"params,omitempty"` // ESMTP parameters of MAIL, as sent
	RcptTo     []Recipient `json:"rcpt_to"`
	Via        string      `json:"via"`            // SMTP, ESMTP, ESMTPSA and so on (RFC 3848), or HTTP
	Helo       string      `json:"helo"`           // as the client named itself; empty for HTTP
	Remote     string      `json:"remote"`         // address and port of the client
	TLS        string      `json:"tls,omitempty"`  // version and cipher
	User       string      `json:"user,omitempty"` // who authenticated
}

// Recipient is one accepted RCPT command.
type Recipient struct {
	Address string   `json:"address"`
	Params  []string `json:"params,omitempty"` // ESMTP parameters, as sent
}

// Message is one message to accept. Body is taken over by Accept, whatever it
// returns.
type Message struct {
	ID       string // from NewID
	Received time.Time
	Envelope Envelope
	Body     *Body
	// Transcript is the conversation so far, as JSON lines; nil when there was
	// none.
	Transcript []byte
}

// Entry is one stored message without its bytes.
type Entry struct {
	Seq      int64 // position: ascends with each commit, never given out twice
	ID       string
	Received time.Time
	Envelope Envelope
	Size     int64            // bytes, Received field included
	Summary  *message.Summary // nil until the message was read
}

// Page is one step through a listing, newest first.
type Page struct {
	Entries []Entry
	Next    int64 // pass it as Before for the next step; 0 when there is none
	Head    int64 // position of the newest message of the store; 0 when empty
	Total   int64 // messages in the store
}
