package main_test

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	main "postern.example/cmd/audit"
)

// A folder that may not be written is said to be one, before anything is
// contacted.
func TestOutputFolderNotWritable(t *testing.T) {
	inv := inventory(t, slow)
	folder := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(folder): 0o755, folder: 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	report := filepath.Join(folder, "r.md")
	var talk strings.Builder
	code := make(chan int)
	go func() {
		// Root may write everywhere. For this goroutine's thread, which ends
		// with it, files are somebody else's (setfsuid(2)).
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		code <- main.Run(t.Context(), []string{"-i", inv, "--output", report}, strings.NewReader(""), io.Discard, &talk)
	}()
	if got := <-code; got != 2 {
		t.Errorf("exit code %d", got)
	}
	want := "audit: --output " + report + ": the folder " + folder + " is not writable: permission denied\n"
	if talk.String() != want {
		t.Errorf("says %q, want %q", talk.String(), want)
	}
}
