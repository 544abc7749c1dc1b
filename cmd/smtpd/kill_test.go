//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKill ends smtpd with SIGKILL while 16 sessions send. What it had
// acknowledged is there after a restart, byte for byte, and each message is
// whole or absent. Some bodies are rows, some are files.
func TestKill(t *testing.T) {
	data := t.TempDir()
	var mu sync.Mutex
	acknowledged := map[string]string{} // id to body
	for round := range 3 {
		p := startProcess(t, "--data", data)
		enough := make(chan struct{})
		var before = len(acknowledged)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				sendUntilGone(p.smtp, fmt.Sprintf("%d-%d", round, i), func(id, body string) {
					mu.Lock()
					defer mu.Unlock()
					acknowledged[id] = body
					if len(acknowledged) == before+200*(round+1) {
						close(enough)
					}
				})
			})
		}
		select {
		case <-enough:
		case <-time.After(patience):
			t.Fatalf("%d messages in %v", len(acknowledged)-before, patience)
		}
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.wait()
		wg.Wait()
	}
	p := startProcess(t, "--data", data)
	stored := bodies(t, p.http)
	for id, body := range acknowledged {
		got, ok := stored[id]
		if !ok {
			t.Errorf("%s was acknowledged and is gone", id)
		} else if got != body {
			t.Errorf("%s: %d bytes are stored that are not the %d sent", id, len(got), len(body))
		}
	}
	for id, got := range stored {
		if !strings.HasPrefix(got, "Subject: ") || !strings.HasSuffix(got, "end\r\n") {
			t.Errorf("%s is there by half: %d bytes", id, len(got))
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(stored))
}

// sendUntilGone sends messages over one session until the server is gone.
func sendUntilGone(addr, name string, acknowledged func(id, body string)) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	r.ReadString('\n')
	io.WriteString(c, "EHLO c\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "250 ") {
			break
		}
	}
	for n := 0; ; n++ {
		size := 1000
		if n%10 == 9 {
			size = 200_000
		}
		body := "Subject: " + name + "\r\n\r\n" + strings.Repeat(fmt.Sprintf("line %d\r\n", n), size/10) + "end\r\n"
		io.WriteString(c, "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n"+body+".\r\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if id, ok := strings.CutPrefix(line, "250 2.0.0 Ok: queued as "); ok {
				acknowledged(strings.TrimSpace(id), body)
				break
			}
		}
	}
}

// TestSignals ends smtpd as an operator does, while a client is there.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startProcess(t, "--data", t.TempDir())
			c, err := net.Dial("tcp", p.smtp)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			r := bufio.NewReader(c)
			if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
				t.Fatalf("%q, %v", line, err)
			}
			// SIGHUP reloads, and does not end it.
			if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return strings.Contains(p.log.String(), `"reloaded"`) })
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "421 4.3.2 ") {
				t.Errorf("an idle client sees %q, %v", line, err)
			}
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d\n%s", code, p.log)
			}
			for line := range bytes.Lines([]byte(p.log.String())) {
				if !bytes.HasPrefix(line, []byte(`{"time":`)) {
					t.Errorf("not an event: %s", line)
				}
			}
		})
	}
}

// TestFullDisk fills the disk under smtpd. Clients get 452, sessions live on,
// what was acknowledged stays, and with room again mail is taken again.
func TestFullDisk(t *testing.T) {
	data := t.TempDir()
	mountSmall(t, data, "size=4m")
	p := startProcess(t, "--data", data)
	acknowledged := map[string]string{}
	s := dialSMTP(t, p.smtp)
	full := 0
	for n := 0; full < 5; n++ {
		if n == 2000 {
			t.Fatal("the disk does not fill")
		}
		size := 20_000
		if n%2 == 1 {
			size = 150_000 // a file
		}
		body := "Subject: full\r\n\r\n" + strings.Repeat("12345678\r\n", size/10) + "end\r\n"
		reply := s.message(body)
		switch {
		case strings.HasPrefix(reply, "250 2.0.0 Ok: queued as "):
			acknowledged[strings.TrimSpace(reply[len("250 2.0.0 Ok: queued as "):])] = body
		case strings.HasPrefix(reply, "452 4.3.1 "):
			full++
		default:
			t.Fatalf("message %d: %q", n, reply)
		}
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing fitted")
	}
	// The disk is full, and what is on it can be deleted all the same.
	for id := range acknowledged {
		req, err := http.NewRequest("DELETE", p.http+"/api/v1/messages/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		hc := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("DELETE on a full disk: %s", resp.Status)
		}
		delete(acknowledged, id)
		if len(acknowledged) == 1 {
			break
		}
	}
	again := "Subject: in the freed room\r\n\r\n" + strings.Repeat("12345678\r\n", 2000) + "end\r\n"
	reply := s.message(again)
	if !strings.HasPrefix(reply, "250 2.0.0 Ok: queued as ") {
		t.Fatalf("in the freed room: %q", reply)
	}
	acknowledged[strings.TrimSpace(reply[len("250 2.0.0 Ok: queued as "):])] = again
	remount(t, data, "size=20m")
	if reply := s.message("Subject: again\r\n\r\nend\r\n"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("with room again: %q", reply)
	}
	check := func(url string) {
		t.Helper()
		stored := bodies(t, url)
		for id, body := range acknowledged {
			if stored[id] != body {
				t.Errorf("%s was acknowledged and is not there whole", id)
			}
		}
		if len(stored) != len(acknowledged)+1 {
			t.Errorf("%d are stored, %d were acknowledged", len(stored), len(acknowledged)+1)
		}
	}
	check(p.http)
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.log)
	}
	p = startProcess(t, "--data", data)
	check(p.http)
	p.cmd.Process.Signal(os.Interrupt)
	p.wait() // before the file system goes
}

type session struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialSMTP(t *testing.T, addr string) *session {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	s := &session{t, c, bufio.NewReader(c)}
	s.reply()
	io.WriteString(c, "HELO c\r\n")
	s.reply()
	return s
}

func (s *session) reply() string {
	s.t.Helper()
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return line
}

// message sends one message and returns the reply to its end.
func (s *session) message(body string) string {
	s.t.Helper()
	for _, cmd := range []string{"MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>", "DATA"} {
		io.WriteString(s, cmd+"\r\n")
		s.reply()
	}
	io.WriteString(s, body+".\r\n")
	return s.reply()
}
