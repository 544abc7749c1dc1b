package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// asSmtpd makes the test binary be smtpd, so that it can be killed like one.
const asSmtpd = "POSTERN_TEST_AS_SMTPD"

func TestMain(m *testing.M) {
	if os.Getenv(asSmtpd) != "" {
		main()
	}
	testscript.Main(leakChecked{m}, map[string]func(){"smtpd": main})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the command lines in testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// patience bounds what a test waits for. Nothing is meant to take that long.
const patience = 60 * time.Second

// needs skips a test that wants a program which is not on this machine. CI
// promises that all are.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		missing(t, "the program "+program)
	}
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s, which CI has to have", what)
	}
	t.Skipf("needs %s, which this machine does not have", what)
}

// process is an smtpd in a process of its own.
type process struct {
	cmd    *exec.Cmd
	smtp   string // host:port
	smtps  string // host:port, if it listens there
	http   string // URL
	stdout bytes.Buffer
	log    *syncBuffer
	ended  sync.WaitGroup
}

// startProcess starts smtpd and waits for its ready event.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{log: &syncBuffer{}}
	p.cmd = exec.Command(os.Args[0], append([]string{"--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log", "json"}, args...)...)
	p.cmd.Env = append(os.Environ(), asSmtpd+"=1")
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.wait() })
	type event struct {
		Msg         string
		SMTP, SMTPS []string
		HTTP        string
	}
	ready := make(chan event, 1)
	p.ended.Go(func() {
		sc := bufio.NewScanner(stderr)
		for sc.Scan() {
			fmt.Fprintln(p.log, sc.Text())
			var e event
			if json.Unmarshal(sc.Bytes(), &e) == nil && e.Msg == "ready" {
				ready <- e
			}
		}
		close(ready)
	})
	select {
	case e, ok := <-ready:
		if !ok {
			t.Fatalf("smtpd ended before it was ready:\n%s", p.log)
		}
		p.smtp, p.http = e.SMTP[0], "http://"+e.HTTP
		if len(e.SMTPS) > 0 {
			p.smtps = e.SMTPS[0]
		}
	case <-time.After(patience):
		t.Fatalf("smtpd does not get ready:\n%s", p.log)
	}
	return p
}

// wait waits for the process and returns its exit code, -1 after a signal.
func (p *process) wait() int {
	p.ended.Wait() // before Wait, which closes the pipe
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	hc := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := hc.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v\n%s", url, resp.Status, err, body)
	}
	return body
}

// bodies are all stored messages, by id, without our Received field.
func bodies(t *testing.T, url string) map[string]string {
	t.Helper()
	all := map[string]string{}
	cursor := ""
	for {
		var l struct {
			Messages []struct{ ID string }
			Next     string
		}
		if err := json.Unmarshal(get(t, url+"/api/v1/messages?limit=1000&cursor="+cursor), &l); err != nil {
			t.Fatal(err)
		}
		for _, m := range l.Messages {
			raw := string(get(t, url+"/api/v1/messages/"+m.ID+"/raw"))
			lines := strings.SplitAfter(raw, "\r\n")
			n := 1
			for n < len(lines) && strings.HasPrefix(lines[n], "\t") {
				n++
			}
			all[m.ID] = strings.Join(lines[n:], "")
		}
		if cursor = l.Next; cursor == "" {
			return all
		}
	}
}

// TestWelcome starts smtpd as a person does and looks at what it prints.
func TestWelcome(t *testing.T) {
	for name, tt := range map[string]struct{ addr, reach string }{
		"loopback":   {"127.0.0.1:0", "this machine can reach it"},
		"every one":  {"0.0.0.0:0", "anyone can reach it"},
		"everywhere": {":0", "anyone can reach it"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			var stdout, stderr syncBuffer
			code := make(chan int, 1)
			go func() {
				code <- run(ctx, []string{"--smtp", tt.addr, "--http", tt.addr, "--ephemeral"}, nil, &stdout, &stderr)
			}()
			waitFor(t, func() bool { return strings.Contains(stdout.String(), "and read it:") })
			cancel()
			if c := <-code; c != 0 {
				t.Errorf("exit %d\n%s", c, stderr.String())
			}
			text := stdout.String()
			for _, want := range []string{tt.reach, "mailclient send --server smtp://", "mailclient read --http http://"} {
				if !strings.Contains(text, want) {
					t.Errorf("the welcome lacks %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "smtp://0.0.0.0") || strings.Contains(text, "smtp://[::]") {
				t.Errorf("the first mail goes to no address:\n%s", text)
			}
		})
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("what was waited for did not happen")
		}
	}
}
