package main

import (
	"fmt"
	"io"
	"net"

	"postern.example/smtpd"
)

// welcome says where smtpd listens, who can reach that, and how to send a first
// mail.
func welcome(w io.Writer, b smtpd.Bound, cfg smtpd.Config) {
	fmt.Fprintln(w, "smtpd takes every mail and sends nothing on.")
	for _, l := range []struct {
		name  string
		addrs []net.Addr
	}{{"SMTP", b.SMTP}, {"submission", b.Submission}, {"SMTPS", b.SMTPS}, {"LMTP", b.LMTP}} {
		for _, a := range l.addrs {
			fmt.Fprintf(w, "  %-10s %-30s %s can reach it\n", l.name, a, smtpd.Reach(a))
		}
	}
	if b.HTTP != nil {
		fmt.Fprintf(w, "  inbox      %-30s %s can reach it\n", "http://"+b.HTTP.String(), smtpd.Reach(b.HTTP))
	}
	fmt.Fprintf(w, "  store      %s\n", b.Data)
	if cfg.Auth == smtpd.AuthAny {
		fmt.Fprintln(w, "AUTH takes ANY name with ANY password. That is for testing clients, not for keeping anyone out.")
	}
	if len(b.SMTP) > 0 {
		fmt.Fprintf(w, "A first mail:\n  mailclient send --server smtp://%s --from you@example.com --to me@example.com --subject Hello --body 'It works.'\n",
			dialable(b.SMTP[0]))
	}
	if b.HTTP != nil {
		fmt.Fprintf(w, "and read it:\n  mailclient read --http http://%s\n", dialable(b.HTTP))
	}
}

// dialable is an address that a client on this machine can use.
func dialable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	host := "127.0.0.1"
	if tcp.IP.To4() == nil {
		host = "::1"
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}
