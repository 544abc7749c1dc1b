// Command flood measures what a flood costs a well-behaved client of smtpd. It
// builds smtpd, starts it on loopback with --strict-loopback, lets one client
// send 100 messages in quiet, and 100 more while 2,000 connections from 200
// addresses hold their commands back and another 200 addresses connect as fast
// as they can. It prints both latencies, their ratio, and the server's memory.
//
//	go run ./cmd/smtpd/testdata/flood
//
// Everything is bounded in number and time, and goes to 127.0.0.0/8 only.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const longest = 2 * time.Minute

func main() {
	messages := flag.Int("messages", 100, "that the good client sends each time; with a connection each, 140 are within its rate")
	loris := flag.Int("loris", 2000, "connections that hold their commands back")
	attack := flag.String("attack", "", "be the flood, on this port, until standard input ends; run does that")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if *attack != "" {
		flood(ctx, *attack, min(*loris, 5000))
		return
	}
	if err := run(ctx, *messages, min(*loris, 5000)); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, messages, loris int) error {
	dir, err := os.MkdirTemp("", "flood-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "smtpd")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "postern.example/cmd/smtpd").CombinedOutput(); err != nil {
		return fmt.Errorf("build smtpd: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, bin, "--smtp", "0.0.0.0:0", "--http", "127.0.0.1:0", "--data", filepath.Join(dir, "data"),
		"--strict-loopback", "--log", "json")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	port, err := ready(stderr)
	if err != nil {
		return err
	}

	// A stranger's first greeting is held back once; that is no cost of the flood.
	if _, err := send(ctx, port, 1); err != nil {
		return fmt.Errorf("at first: %w", err)
	}
	quiet, err := send(ctx, port, messages)
	if err != nil {
		return fmt.Errorf("in quiet: %w", err)
	}
	// The flood has a process of its own, so that its load does not delay the good
	// client inside one scheduler.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, self, "-attack", port, "-loris", fmt.Sprint(loris))
	child.Stderr = os.Stderr
	end, err := child.StdinPipe()
	if err != nil {
		return err
	}
	said, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(said)
	lines.Scan()
	fmt.Println(lines.Text())
	loud, err := send(ctx, port, messages)
	rss := memory(cmd.Process.Pid)
	end.Close()
	lines.Scan()
	fmt.Println(lines.Text())
	child.Wait()
	if err != nil {
		return fmt.Errorf("in the flood: %w", err)
	}

	fmt.Printf("%-8s %10s %10s\n", "", "p50", "p99")
	fmt.Printf("%-8s %10v %10v\n", "quiet", at(quiet, 50), at(quiet, 99))
	fmt.Printf("%-8s %10v %10v\n", "flood", at(loud, 50), at(loud, 99))
	fmt.Printf("ratio    %9.2fx %9.2fx   (at most 3 is the aim for p99)\n", ratio(loud, quiet, 50), ratio(loud, quiet, 99))
	fmt.Printf("%d of %d messages accepted in the flood; smtpd has %s\n", len(loud), messages, rss)
	return nil
}

// flood is the child: it tells when its slow connections are there, connects as
// fast as it can, and ends with standard input.
func flood(ctx context.Context, port string, loris int) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var held, refused, connects atomic.Int64
	for i := range loris {
		wg.Go(func() { hold(ctx, fmt.Sprintf("127.%d.%d.%d", 10+i%4, i/4%50, 1), port, &held, &refused) })
	}
	for held.Load()+refused.Load() < int64(loris) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	for i := range 200 {
		wg.Go(func() { knock(ctx, fmt.Sprintf("127.%d.%d.%d", 20+i%4, i/4, 1), port, &connects) })
	}
	began := time.Now()
	fmt.Printf("%d of %d slow connections are held, %d were refused\n", held.Load(), loris, refused.Load())
	io.Copy(io.Discard, os.Stdin)
	stop()
	wg.Wait()
	d := time.Since(began)
	fmt.Printf("%d connects from 200 addresses in %v, %.0f a second\n", connects.Load(), d.Round(time.Millisecond), float64(connects.Load())/d.Seconds())
}

// ready waits for smtpd's ready event and drains its log from there on.
func ready(log io.Reader) (port string, err error) {
	sc := bufio.NewScanner(log)
	for sc.Scan() {
		var e struct {
			Msg  string
			SMTP []string
		}
		if json.Unmarshal(sc.Bytes(), &e) == nil && e.Msg == "ready" {
			go io.Copy(io.Discard, log)
			_, port, err = net.SplitHostPort(e.SMTP[0])
			return port, err
		}
	}
	return "", errors.New("smtpd does not get ready")
}

func dial(ctx context.Context, from, port string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
}

// send is the good client: a connection for each message, from an address and a
// network of its own. It returns how long each took.
func send(ctx context.Context, port string, n int) ([]time.Duration, error) {
	var all []time.Duration
	body := "Subject: good\r\n\r\n" + strings.Repeat("a line of text in a mail\r\n", 150) + ".\r\n"
	for range n {
		began := time.Now()
		c, err := dial(ctx, "127.99.0.1", port)
		if err != nil {
			return nil, err
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		r := bufio.NewReader(c)
		for _, step := range [][2]string{
			{"", "220"}, {"EHLO good.example\r\n", "250"}, {"MAIL FROM:<a@a.example>\r\n", "250"},
			{"RCPT TO:<b@b.example>\r\n", "250"}, {"DATA\r\n", "354"}, {body, "250"}, {"QUIT\r\n", "221"},
		} {
			if _, err := io.WriteString(c, step[0]); err != nil {
				return nil, err
			}
			if err := reply(r, step[1]); err != nil {
				return nil, err
			}
		}
		c.Close()
		all = append(all, time.Since(began))
	}
	return all, nil
}

func reply(r *bufio.Reader, want string) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, want) {
			return fmt.Errorf("the reply is %q, not %s", line, want)
		}
		if len(line) > 3 && line[3] == ' ' {
			return nil
		}
	}
}

// hold connects and says a word now and then, never a whole line.
func hold(ctx context.Context, from, port string, held, refused *atomic.Int64) {
	c, err := dial(ctx, from, port)
	if err != nil {
		refused.Add(1)
		return
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "220") {
		refused.Add(1)
		return
	}
	held.Add(1)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(c, "N"); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// knock connects and leaves, again and again.
func knock(ctx context.Context, from, port string, n *atomic.Int64) {
	for ctx.Err() == nil && n.Load() < 200_000 {
		c, err := dial(ctx, from, port)
		if err != nil {
			continue
		}
		n.Add(1)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func at(d []time.Duration, percent int) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, len(s)*percent/100)].Round(time.Microsecond)
}

func ratio(a, b []time.Duration, percent int) float64 {
	return float64(at(a, percent)) / float64(at(b, percent))
}

// memory is what the process has in memory, where /proc tells it.
func memory(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "an unknown amount of memory"
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(v) + " in memory (under 200 MB is the aim)"
		}
	}
	return "an unknown amount of memory"
}
