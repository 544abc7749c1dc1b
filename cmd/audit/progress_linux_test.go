package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to tty can be read from
// screen, until the last tty is closed.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	missing := func(err error) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI has no pseudo-terminal: %v", err)
		}
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(err)
	}
	t.Cleanup(func() { screen.Close() })
	number, err := unix.IoctlGetUint32(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		missing(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		missing(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

// A bar with the time left is drawn on a terminal, and on nothing else.
func TestProgress(t *testing.T) {
	bar := regexp.MustCompile(`open .* \([0-9]+/65535, [0-9]+ ports/s\) \[[0-9ms]+:[0-9hms]+\]`)
	for name, c := range map[string]struct {
		flags []string
		drawn bool
	}{
		"a terminal":    {nil, true},
		"--no-progress": {[]string{"--no-progress"}, false},
		"--quiet":       {[]string{"--quiet"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			screen, tty := terminal(t)
			args := append([]string{"-i", inventory(t, slow), "--rate", "500/s", "--max-time", "1s"}, c.flags...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "audit", args...)
			cmd.Stderr = tty
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := tty.Close(); err != nil {
				t.Fatal(err)
			}
			// Linux ends a terminal that nobody holds any more with EIO.
			var shown strings.Builder
			if _, err := io.Copy(&shown, screen); err != nil && !errors.Is(err, unix.EIO) {
				t.Error(err)
			}
			_ = cmd.Wait() // its exit code says more
			if code := cmd.ProcessState.ExitCode(); code != 3 {
				t.Errorf("exit code %d", code)
			}
			if got := bar.MatchString(shown.String()); got != c.drawn {
				t.Errorf("a bar is drawn: %v, want %v, in %q", got, c.drawn, shown.String())
			}
			if !c.drawn && strings.Contains(shown.String(), "ports/s") {
				t.Errorf("something of a bar is drawn: %q", shown.String())
			}
		})
	}
}
