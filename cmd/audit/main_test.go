package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"postern.example/audit/record"
	main "postern.example/cmd/audit"
)

// leaks looks for goroutines after the tests, as goleak.VerifyTestMain does.
type leaks struct{ m *testing.M }

func (l leaks) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leaks{m}, map[string]func(){"audit": main.Main})
}

// TestScripts runs testdata/*.txtar. Besides the usual commands they have:
//
//	listen NAME [HOST]   open a listener; $NAME is its port
//	closed NAME [HOST]   $NAME is a port on which nothing listens
//	expand FILE...       replace ${NAME} in files
//	exits CODE CMD...    run a command that exits with CODE
//	files GLOB COUNT     COUNT files match, those with a dot in front too
//	mode FILE OCTAL      FILE has these permissions
//	[!] link FILE        FILE is a symlink
//
// They need no program but audit itself.
func TestScripts(t *testing.T) {
	listen := func(ts *testscript.TestScript, args []string) (net.Listener, string) {
		host := "127.0.0.1"
		if len(args) == 2 {
			host = args[1]
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		ts.Check(err)
		ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		return l, args[0]
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"listen": func(ts *testscript.TestScript, neg bool, args []string) {
				l, _ := listen(ts, args)
				ts.Defer(func() { l.Close() })
			},
			"closed": func(ts *testscript.TestScript, neg bool, args []string) {
				l, _ := listen(ts, args)
				l.Close()
			},
			"expand": func(ts *testscript.TestScript, neg bool, args []string) {
				for _, name := range args {
					text := os.Expand(ts.ReadFile(name), ts.Getenv)
					ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
				}
			},
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec(args[1], args[2:]...)
				got := 0
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
			"files": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[1])
				ts.Check(err)
				got, err := filepath.Glob(ts.MkAbs(args[0]))
				ts.Check(err)
				if len(got) != want {
					ts.Fatalf("%d files match %s, want %d: %q", len(got), args[0], want, got)
				}
			},
			"mode": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.ParseUint(args[1], 8, 32)
				ts.Check(err)
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				if got := info.Mode().Perm(); got != os.FileMode(want) {
					ts.Fatalf("%s has mode %o, want %o", args[0], got, want)
				}
			},
			"link": func(ts *testscript.TestScript, neg bool, args []string) {
				info, err := os.Lstat(ts.MkAbs(args[0]))
				ts.Check(err)
				if is := info.Mode()&os.ModeSymlink != 0; is == neg {
					ts.Fatalf("%s is a symlink: %v", args[0], is)
				}
			},
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "ipv6":
				l, err := net.Listen("tcp", "[::1]:0")
				if err == nil {
					l.Close()
				} else if os.Getenv("CI") == "true" {
					return false, fmt.Errorf("CI has no IPv6: %w", err)
				}
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

func inventory(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const slow = "version: 1\nallow: [127.0.0.0/8]\nhosts: [{name: here, address: 127.0.0.1}]\n"

// A signal ends the run at once, with a whole report of what was found and the
// exit code for incomplete.
func TestSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs Unix signals")
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.CommandContext(t.Context(), "audit", "--inventory", inventory(t, slow), "--rate", "50/s", "--format", "json")
		var out strings.Builder
		cmd.Stdout = &out
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		talk := bufio.NewReader(stderr)
		first, err := talk.ReadString('\n')
		if err != nil || !strings.Contains(first, "auditing") {
			t.Errorf("begins with %q, %v", first, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(talk)
		if err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 3 {
			t.Errorf("%v: exit code %d, %v", sig, code, err)
		}
		var run record.Run
		if err := json.Unmarshal([]byte(out.String()), &run); err != nil {
			t.Fatalf("%v: %v in %q", sig, err, out.String())
		}
		if !run.Info.Interrupted || run.Info.Complete || !strings.Contains(string(rest), "incomplete: interrupted: ") {
			t.Errorf("%v: %+v, %q", sig, run.Info, rest)
		}
	}
}

// The system's resolver, for the one name that every machine knows.
func TestLocalhost(t *testing.T) {
	addrs, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", "localhost")
	if err != nil {
		t.Skipf("needs the name localhost on this machine: %v", err)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(addrs[0].Unmap(), 0).String())
	if err != nil {
		t.Skipf("needs to listen on %v: %v", addrs[0], err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	inv := inventory(t, fmt.Sprintf("version: 1\nallow: [127.0.0.0/8, '::1']\nhosts: [{name: here, address: localhost, ports: {tcp: %d}}]\n", port))
	var out, talk strings.Builder
	if code := main.Run(t.Context(), []string{"-i", inv, "--format", "csv"}, strings.NewReader(""), &out, &talk); code != 1 {
		t.Errorf("exit code %d\n%s%s", code, &out, &talk)
	}
	if want := fmt.Sprintf("%d,tcp,open,syn-ack", port); !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
	// The same name, where the allowlist has no loopback: refused, and 3.
	inv = inventory(t, "version: 1\nallow: [10.0.0.0/24]\nhosts: [{name: here, address: localhost, ports: {tcp: 1}}]\n")
	talk.Reset()
	if code := main.Run(t.Context(), []string{"-i", inv}, strings.NewReader(""), io.Discard, &talk); code != 3 || !strings.Contains(talk.String(), "outside the allowlist") {
		t.Errorf("exit code %d\n%s", code, &talk)
	}
}

// What cannot be written is said, and does not read as clean.
func TestReportFails(t *testing.T) {
	inv := inventory(t, "version: 1\nallow: [127.0.0.0/8]\nhosts: [{name: here, address: 127.0.0.1, ports: {tcp: 1}}]\n")
	var talk strings.Builder
	if code := main.Run(context.Background(), []string{"-i", inv}, strings.NewReader(""), broken{}, &talk); code != 3 || !strings.Contains(talk.String(), "audit: write table report: pipe is full\n") {
		t.Errorf("exit code %d\n%s", code, &talk)
	}
	for _, args := range [][]string{{"plan", "-i", inv}, {"plan", "-i", inv, "--json"}} {
		talk.Reset()
		if code := main.Run(t.Context(), args, strings.NewReader(""), broken{}, &talk); code != 3 || talk.String() != "audit: write plan: pipe is full\n" {
			t.Errorf("%q: exit code %d\n%s", args, code, &talk)
		}
	}
}

// Nobody reads standard output any more, as in "audit … | head". The files are
// written all the same, and the program says what failed and is not killed.
func TestReaderGone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a Unix pipe")
	}
	inv := inventory(t, "version: 1\nallow: [127.0.0.0/8]\nhosts: [{name: here, address: 127.0.0.1, ports: {tcp: 1}}]\n")
	file := filepath.Join(t.TempDir(), "out.json")
	for name, flags := range map[string][]string{"": nil, "quiet": {"--quiet"}} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		var talk strings.Builder
		cmd := exec.CommandContext(t.Context(), "audit", append([]string{"-i", inv, "--format", "json", "--output", file}, flags...)...)
		cmd.Stdout, cmd.Stderr = writer, &talk
		err = cmd.Run()
		writer.Close()
		if code := cmd.ProcessState.ExitCode(); code != 3 {
			t.Errorf("%s: exit code %d, %v", name, code, err)
		}
		if want := "audit: write json report: write /dev/stdout: broken pipe\n"; !strings.HasSuffix(talk.String(), want) {
			t.Errorf("%s: says %q, want %q", name, talk.String(), want)
		}
		var run record.Run
		if data, err := os.ReadFile(file); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := json.Unmarshal(data, &run); err != nil || len(run.Hosts) != 1 {
			t.Errorf("%s: %v in %q", name, err, data)
		}
		_ = os.Remove(file) // so that the next round cannot pass on this one's
	}
}

// Standard error may be gone too.
func TestNobodyListens(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a Unix pipe")
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	file := filepath.Join(t.TempDir(), "out.csv")
	cmd := exec.CommandContext(t.Context(), "audit", "-i", inventory(t, "version: 1\nallow: [127.0.0.0/8]\nhosts: [{name: here, address: 127.0.0.1, ports: {tcp: 1}}]\n"), "--output", file)
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if data, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(data), "host,") {
		t.Errorf("%q, %v", data, err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe is full") }
