package mailclient

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

// httpStart is how every answer of HTTP/1 begins (RFC 9112 section 4).
const httpStart = "HTTP/"

// notHTTP is the error about an answer that begins otherwise.
type notHTTP struct{ text string } // what came, as it came

func (e *notHTTP) Error() string {
	const most = 60
	line, _, _ := strings.Cut(e.text, "\n")
	return "what answers is no HTTP server: it says " + strconv.QuoteToASCII(cut(strings.TrimSuffix(line, "\r"), most))
}

// answerConn refuses to read an answer that is not HTTP. The transport alone
// would not do: a server that speaks first, as mail does, races with the
// request, and what net/http says then depends on who wins, partly into the log.
type answerConn struct {
	net.Conn
	other  *atomic.Pointer[notHTTP] // told, before anybody learns of the error
	held   []byte                   // what came and is not handed on yet
	proven bool                     // it began with httpStart
}

// Read hands nothing on before the whole of httpStart is there: half of it would
// already count as an answer.
func (c *answerConn) Read(p []byte) (int, error) {
	for !c.proven && len(p) > 0 {
		n, err := c.Conn.Read(p)
		c.held = append(c.held, p[:n]...)
		head := c.held[:min(len(c.held), len(httpStart))]
		switch {
		case !strings.HasPrefix(httpStart, string(head)), err == io.EOF && len(head) > 0 && len(head) < len(httpStart):
			e := &notHTTP{string(c.held)}
			c.other.Store(e)
			return 0, e
		case len(head) == len(httpStart):
			c.proven = true
		case err != nil:
			return 0, err
		}
	}
	if len(c.held) > 0 {
		n := copy(p, c.held)
		c.held = c.held[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// answersHTTP is dial for connections on which HTTP is spoken in the clear.
func (a *api) answersHTTP(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &answerConn{Conn: conn, other: &a.other}, nil
	}
}
