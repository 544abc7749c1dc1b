package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern.example/audit/record"
	main "postern.example/cmd/audit"
)

// A report is made to last before it takes the old one's place, and one that
// cannot be made to last does not take it.
func TestOutputIsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.csv")
	content := func() string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if err := os.WriteFile(path, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	broken := errors.New("the disk is gone")
	err := main.WriteOutput(path, record.Run{}, func(*os.File, func(*os.File) error) error { return broken })
	if !errors.Is(err, broken) || content() != "old\n" {
		t.Errorf("a failing sync: %v, the file holds %q", err, content())
	}

	synced := 0
	err = main.WriteOutput(path, record.Run{}, func(f *os.File, real func(*os.File) error) error {
		synced++
		if data, err := os.ReadFile(f.Name()); err != nil || !strings.HasPrefix(string(data), "host,") {
			t.Errorf("synced while it holds %q, %v", data, err)
		}
		if content() != "old\n" {
			t.Errorf("replaced before it was synced")
		}
		return real(f)
	})
	if err != nil || synced != 1 || !strings.HasPrefix(content(), "host,") {
		t.Errorf("%v, synced %d times, the file holds %q", err, synced, content())
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	// The real thing asks the system about the file.
	_ = main.WriteOutput(path, record.Run{}, func(f *os.File, real func(*os.File) error) error {
		f.Close()
		if err := real(f); !errors.Is(err, os.ErrClosed) {
			t.Errorf("sync of a closed file: %v", err)
		}
		return broken
	})
}
