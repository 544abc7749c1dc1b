// Package smtpd is an SMTP server (RFC 5321) for test mail and small sites. In
// capture mode, the only one of this version, it takes every recipient, keeps
// every message and sends nothing on: no code that dials is wired in.
//
// # The road of one message
//
//  1. accept. Package admit is asked, by address, before a byte is written. Then
//     the connection gets a gate (gate.go), and behind it a go-smtp Server of
//     its own. The gate reads the client's bytes first: it bounds and checks each
//     line, does TLS, and holds what the client said about addresses as the
//     strict type of mailclient/address. What the library would misread never
//     reaches it.
//  2. MAIL and RCPT (session.go): strict addresses, ESMTP parameters kept as
//     sent, every recipient taken.
//  3. DATA or BDAT (body.go, receive.go): the body is streamed past the library,
//     held in memory up to 64 KiB and in a file beyond, and bounded by MaxSize. A
//     bare CR, a bare LF or a NUL ends the connection with 550 5.6.11. A Received
//     field goes in front; what follows it is the client's bytes, each one.
//  4. commit (store): bytes, envelope and transcript in one fsynced transaction,
//     shared with whoever else is waiting. Only now is the answer
//     250 2.0.0 Ok: queued as ID.
//  5. afterwards, never before (index.go): the message is parsed for the list of
//     messages, and the oldest leave when more are kept than Keep allows.
//
// # What 250 promises
//
// The message, its envelope and its id are on disk and fsynced; kill -9 or a
// power cut right after the reply loses nothing. A client that does not get to
// see the reply will send again: then there are two, never none.
//
// # How it fails
//
// New refuses a wrong configuration and names every fault. Run fails when the
// environment does: a port in use, a folder that cannot be written, a store
// that is open elsewhere. While running, a full disk is 452 to whoever sends
// and no harm to what was acknowledged; any other failure of the store is 451.
// A stranger gets general text; the cause goes to the log.
//
// # Who owns what
//
// Run owns every goroutine, listener and file, and returns when all of them are
// gone. When its context ends it drains: listeners close, idle clients get 421,
// transactions under way get their reply, all within DrainTime and a second or
// two for clients to read their last reply.
package smtpd
