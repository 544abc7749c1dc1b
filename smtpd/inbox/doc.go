// Package inbox serves what smtpd has stored over HTTP: the API under /api/v1,
// and /healthz. Errors are application/problem+json (RFC 9457).
//
// # Who may ask
//
// There are no accounts in this version: whoever can connect may read and
// delete, so the listener belongs on loopback. What a browser on the same
// machine must not be made to do is refused on every route: a Host that is not
// ours (DNS rebinding), an Origin that is not the page's own, a request that
// Sec-Fetch-Site calls cross-site. Nothing of a mail is ever served as a page:
// raw bytes download as message/rfc822 under a policy that lets nothing load.
//
// # Bounds
//
// A body may be MaxSize long, a query 64 KiB with the rest of the header, a
// page of the list 1000 messages.
//
// # Who owns what
//
// The handler starts no goroutine and keeps no state. It borrows the store and
// the receive function; whoever made it closes them after the last request.
package inbox
