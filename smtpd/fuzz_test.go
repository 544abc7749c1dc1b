package smtpd_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postern.example/smtpd"
	"postern.example/smtpd/admit"
)

// FuzzSession says anything to a live server and leaves. It must come to an
// end, with no more messages stored than were acknowledged, and as many.
func FuzzSession(f *testing.F) {
	const hello = "EHLO c\r\n"
	for _, seed := range []string{
		"QUIT\r\n",
		hello + transaction + "DATA\r\nSubject: x\r\n\r\n.\r\n",
		hello + transaction + "DATA\r\n.\r\n" + transaction + "BDAT 2 LAST\r\nx\r\nQUIT\r\n",
		hello + transaction + "BDAT 4\r\nhalfRSET\r\n" + transaction + "BDAT 0 LAST\r\nQUIT\r\n",
		hello + transaction + "BDAT 0\r\nQUIT\r\n",
		hello + "MAIL FROM:<> BODY=BINARYMIME SIZE=10 RET=HDRS ENVID=a+20b\r\nRCPT TO:<postmaster> NOTIFY=NEVER\r\nBDAT 3 LAST\r\na\rb",
		hello + "AUTH PLAIN\r\nAGFubgB4\r\nAUTH LOGIN\r\n*\r\nXCLIENT ADDR=1.2.3.4\r\nSTARTTLS\r\n",
		"LHLO c\r\nHELP\r\nVRFY \"x\r\n\r\n.\r\nDATA\r\n\n.\n",
	} {
		f.Add([]byte(seed))
	}
	ready := make(chan smtpd.Bound, 1)
	srv, err := smtpd.New(smtpd.Config{
		SMTP: []string{"127.0.0.1:0"}, HTTP: smtpd.Off, Data: f.TempDir(), Hostname: "mx.test.example", Auth: smtpd.AuthAny,
		MaxSize: 2000, Keep: smtpd.Keep{Messages: 1 << 40}, Admit: admit.Config{Errors: -1},
		Ready: func(b smtpd.Bound) { ready <- b },
	}.WithLimits(smtpd.Limits{Linger: time.Nanosecond}))
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
	addr := (<-ready).SMTP[0].String()
	f.Fuzz(func(t *testing.T, say []byte) {
		before := smtpd.Stored(srv)
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Skip(err) // out of ports for a moment
		}
		c.SetDeadline(time.Now().Add(patience))
		go func() {
			c.Write(say)
			c.(*net.TCPConn).CloseWrite()
		}()
		text, err := io.ReadAll(c)
		c.(*net.TCPConn).SetLinger(0) // no TIME_WAIT: there are thousands
		c.Close()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Fatalf("the session hangs after %q", text)
		}
		acknowledged := int64(strings.Count(string(text), "250 2.0.0 Ok: queued as "))
		if n := smtpd.Stored(srv) - before; n != acknowledged && err == nil || n < acknowledged {
			t.Fatalf("%d messages are stored, %d acknowledged:\n%s", n, acknowledged, text)
		}
	})
}
