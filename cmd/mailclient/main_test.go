package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	main "postern.example/cmd/mailclient"
	"postern.example/mailclient/wire/wiretest"
)

// tests looks for goroutines that are left, before testscript ends the process.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	code := t.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){
		"mailclient": func() {
			os.Exit(main.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts plays the conversations of testdata. Beside testscript's own
// commands there are:
//
//	exits CODE command args...     run it, and want this exit code
//	serve [tls|unix] VAR script... a scripted server for a connection each, its address in $VAR
//	bodies VAR file                wait for that server's end, and keep the messages that it read
//	api VAR                        an HTTP server like smtpd's, its URL in $VAR, its address in $VAR_ADDR
//	closed VAR                     the address of a port that nobody listens on
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			var mu sync.Mutex
			servers := map[string]*wiretest.Server{}
			cert := wiretest.NewCertificate(t)
			testscript.Run(t, testscript.Params{
				Files: []string{f},
				Setup: func(e *testscript.Env) error {
					// The race detector holds each process for a second at its end.
					e.Setenv("GORACE", "atexit_sleep_ms=0")
					for name, text := range map[string]string{
						"ca.pem": string(cert.PEM), "barecr": "Subject: bare\rcr\n", "latin1": "\xfc",
					} {
						if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(text), 0o600); err != nil {
							return err
						}
					}
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits": exits,
					"serve": func(ts *testscript.TestScript, _ bool, args []string) {
						kind := ""
						if args[0] == "tls" || args[0] == "unix" {
							kind, args = args[0], args[1:]
						}
						var scripts []string
						for _, a := range args[1:] {
							scripts = append(scripts, ts.ReadFile(a))
						}
						var s *wiretest.Server
						switch kind {
						case "tls":
							s = wiretest.ServeTLS(t, cert, scripts...)
						case "unix":
							s = wiretest.ServeUnix(t, scripts...)
						default:
							s = wiretest.Serve(t, scripts...)
						}
						mu.Lock()
						defer mu.Unlock()
						servers[args[0]] = s
						ts.Setenv(args[0], s.Addr)
					},
					"bodies": func(ts *testscript.TestScript, _ bool, args []string) {
						mu.Lock()
						s := servers[args[0]]
						mu.Unlock()
						all := strings.Join(s.Wait(), "")
						if strings.Count(all, "\n") != strings.Count(all, "\r\n") {
							ts.Fatalf("a line does not end in CRLF: %q", all)
						}
						all = strings.ReplaceAll(all, "\r\n", "\n") // as the scripts are written
						ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(all), 0o600))
					},
					"api": func(ts *testscript.TestScript, _ bool, args []string) {
						s := httptest.NewServer(&fakeAPI{})
						t.Cleanup(s.Close)
						ts.Setenv(args[0], s.URL)
						ts.Setenv(args[0]+"_ADDR", s.Listener.Addr().String())
					},
					"closed": func(ts *testscript.TestScript, _ bool, args []string) {
						l, err := net.Listen("tcp", "127.0.0.1:0")
						ts.Check(err)
						ts.Setenv(args[0], l.Addr().String())
						ts.Check(l.Close())
					},
				},
			})
		})
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// fakeAPI is as much of smtpd's HTTP API as mailclient uses.
type fakeAPI struct {
	mu   sync.Mutex
	mail []fakeMail
}

type fakeMail struct {
	ID     string   `json:"id"`
	From   string   `json:"mail_from"`
	RcptTo []string `json:"rcpt_to"`
	raw    []byte
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const list = "/api/v1/messages"
	id, isRaw := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, list+"/"), "/raw")
	switch {
	case r.Method == http.MethodPost && r.URL.Path == list && r.Header.Get("Content-Type") == "message/rfc822":
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		q := r.URL.Query()
		m := fakeMail{ID: fmt.Sprintf("m%d", len(a.mail)+1), From: q.Get("from"), RcptTo: q["to"], raw: raw}
		a.mail = append(a.mail, m)
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(map[string]string{"id": m.ID})
		return
	case r.Method == http.MethodGet && r.URL.Path == list:
		newest := slices.Clone(a.mail)
		slices.Reverse(newest)
		json.NewEncoder(w).Encode(map[string]any{"messages": newest, "next": "", "head": "", "total": len(newest)})
		return
	case r.Method == http.MethodGet && isRaw:
		for _, m := range a.mail {
			if m.ID == id {
				w.Header().Set("Content-Type", "message/rfc822")
				io.WriteString(w, "Received: from test\r\n")
				w.Write(m.raw)
				return
			}
		}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"title":"No such message","status":404}`)
}

// TestOutputBroken: results that cannot be written are not silence.
func TestOutputBroken(t *testing.T) {
	s := wiretest.Serve(t, "S: 220 x\nC: EHLO*\nS: 250 x\nC: MAIL*\nS: 250 x\nC: RCPT*\nS: 250 x\nC: DATA\nS: 354 x\nBODY\nS: 250 x\nC: QUIT\nS: 221 x")
	var talk strings.Builder
	code := main.Run(t.Context(), []string{"send", "--server", "smtp://" + s.Addr, "--to", "a@x"}, strings.NewReader(""), full{}, &talk)
	if code != 74 || !strings.Contains(talk.String(), "no room") {
		t.Errorf("exit code %d, %s", code, talk.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no room") }

// TestInterrupted: an interrupt leaves what may be tried again, and the help of
// each command says so.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"send", "--to", "a@x"}, {"trace", "--to", "a@x"}, {"contrast"}, {"read"},
	} {
		var out, talk strings.Builder
		if code := main.Run(ctx, args, strings.NewReader(""), &out, &talk); code != 75 {
			t.Errorf("%s: exit code %d, %s", args, code, talk.String())
		}
		out.Reset()
		main.Run(t.Context(), []string{args[0], "--help"}, strings.NewReader(""), &out, &talk)
		if _, after, _ := strings.Cut(out.String(), "\n  75  "); !strings.Contains(strings.SplitN(after, "\n  76", 2)[0], "interrupt") {
			t.Errorf("%s: no word of an interrupt in\n%s", args, out.String())
		}
	}
}
