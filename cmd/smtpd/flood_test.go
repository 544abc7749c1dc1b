//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFlood holds connections open without a whole command and connects from
// many addresses, while one client that behaves sends its mail: all of it is
// accepted. What that costs it is measured by testdata/flood.
func TestFlood(t *testing.T) {
	p := startProcess(t, "--data", t.TempDir(), "--strict-loopback", "--greet-pause", "off", "--sessions", "200")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	from := func(addr string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
		c, err := d.DialContext(ctx, "tcp", p.smtp)
		if err == nil {
			c.SetDeadline(time.Now().Add(patience))
		}
		return c, err
	}
	var started sync.WaitGroup
	for i := range 400 {
		started.Add(1)
		wg.Go(func() {
			c, err := from(fmt.Sprintf("127.10.%d.1", i%40))
			if err != nil {
				started.Done()
				return
			}
			defer c.Close()
			io.WriteString(c, "N")
			bufio.NewReader(c).ReadString('\n') // greeted, or refused
			started.Done()
			<-ctx.Done()
		})
	}
	started.Wait()
	for i := range 20 {
		wg.Go(func() {
			for n := 0; n < 2000 && ctx.Err() == nil; n++ {
				if c, err := from(fmt.Sprintf("127.20.%d.1", i)); err == nil {
					c.(*net.TCPConn).SetLinger(0)
					c.Close()
				}
			}
		})
	}
	for n := range 100 {
		c, err := from("127.99.0.1")
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		io.WriteString(c, "EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n")
		for accepted := false; !accepted; {
			line, err := r.ReadString('\n')
			if err != nil || line[0] >= '4' {
				t.Fatalf("message %d: %q, %v", n, line, err)
			}
			if strings.HasPrefix(line, "354") {
				io.WriteString(c, "Subject: good\r\n\r\n.\r\n")
			}
			accepted = strings.HasPrefix(line, "250 2.0.0 Ok: queued as ")
		}
		c.Close()
	}
	stop()
	wg.Wait()
	if n := len(bodies(t, p.http)); n != 100 {
		t.Errorf("%d messages are stored, 100 were accepted", n)
	}
	terminate(t, p)
}
