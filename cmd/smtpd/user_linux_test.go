package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"postern.example/smtpd"
)

// terminal opens a pseudo-terminal: the side of who types, and the program's.
func terminal(t *testing.T) (keys, tty *os.File) {
	t.Helper()
	// Non-blocking, so that its reads can be ended.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		missing(t, "pseudo-terminals ("+err.Error()+")")
	}
	keys = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { keys.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		missing(t, "pseudo-terminals ("+err.Error()+")")
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		missing(t, "pseudo-terminals ("+err.Error()+")")
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(t, "pseudo-terminals ("+err.Error()+")")
	}
	t.Cleanup(func() { tty.Close() })
	return keys, tty
}

// TestUserTerminal types a password, and looks at what is shown.
func TestUserTerminal(t *testing.T) {
	for name, tt := range map[string]struct {
		keys [2]string
		want string // in the error; empty: taken
	}{
		"twice the same":  {[2]string{"open sesame\r", "open sesame\r"}, ""},
		"corrected":       {[2]string{"open seesame\b\b\b\b\bsame\r", "open sesame\r"}, ""},
		"two that differ": {[2]string{"open sesame\r", "open barley\r"}, "the two differ"},
		"nothing":         {[2]string{"\r", ""}, "there is none"},
		"interrupted":     {[2]string{"open se\x03", ""}, "given up"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, tty := terminal(t)
			before, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "users")
			var stdout bytes.Buffer
			cmd := userCommand(tty, &stdout, tty)
			cmd.SetArgs([]string{"add", "ann", "--users", file})
			result := make(chan error, 1)
			var wg sync.WaitGroup
			wg.Go(func() { result <- cmd.ExecuteContext(t.Context()) })
			defer wg.Wait()

			var shown strings.Builder
			until := func(text string) {
				t.Helper()
				buf := make([]byte, 256)
				keys.SetReadDeadline(time.Now().Add(patience))
				for !strings.Contains(shown.String(), text) {
					n, err := keys.Read(buf)
					shown.Write(buf[:n])
					if err != nil {
						t.Fatalf("%q is not shown but %q: %v", text, shown.String(), err)
					}
				}
			}
			for i, prompt := range []string{"Password: ", "Once more: "} {
				if tt.keys[i] == "" {
					break
				}
				until(prompt)
				if _, err := keys.WriteString(tt.keys[i]); err != nil {
					t.Fatal(err)
				}
			}
			err = <-result
			if tt.want == "" {
				until("added ann")
				if err != nil {
					t.Fatal(err)
				}
				if u, err := smtpd.LoadUsers(file); err != nil || !u.Verify("ann", "open sesame") {
					t.Errorf("what was typed is not the password: %v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, not %q", err, tt.want)
			}
			if strings.Contains(shown.String(), "sesame") || strings.Contains(shown.String(), "open") {
				t.Errorf("the password is shown: %q", shown.String())
			}
			if after, err := term.GetState(int(tty.Fd())); err != nil || *after != *before {
				t.Errorf("the terminal is left in another state: %v", err)
			}
		})
	}
}
