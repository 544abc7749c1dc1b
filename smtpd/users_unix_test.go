//go:build unix

package smtpd_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern.example/smtpd"
)

func TestUsersModes(t *testing.T) {
	for _, tt := range []struct {
		file, dir os.FileMode
		want      string // in the error; empty: taken
	}{
		{0o600, 0o755, ""}, {0o640, 0o755, ""}, {0o400, 0o700, ""},
		{0o620, 0o755, "others may write"}, {0o602, 0o755, "others may write"},
		{0o644, 0o755, "everyone may read"}, {0o666, 0o755, "others may write"},
		{0o600, 0o777, "everyone may write the folder"}, {0o600, 0o777 | os.ModeSticky, ""},
	} {
		file := usersFile(t, "ann:"+hashUU+"\n")
		if err := os.Chmod(file, tt.file); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(file), tt.dir); err != nil {
			t.Fatal(err)
		}
		_, err := smtpd.LoadUsers(file)
		edit := smtpd.AddUser(file, "ben", "x")
		for what, err := range map[string]error{"load": err, "edit": edit} {
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s of %v in %v: %v, not %q", what, tt.file, tt.dir, err, tt.want)
			}
		}
		// An edit lets in those that could read before, and nobody else.
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != tt.file {
			t.Errorf("mode %v became %v, %v", tt.file, info.Mode(), err)
		}
	}
}

func TestUsersLink(t *testing.T) {
	file := usersFile(t, "ann:"+hashUU+"\n")
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := smtpd.AddUser(link, "ben", "x"); err != nil {
		t.Fatal(err)
	}
	if got := loadUsers(t, file).Names(); len(got) != 2 {
		t.Errorf("behind the link: %q", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	onlyFile(t, dir, "link")
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	if err := os.Symlink(filepath.Join(dir, "none"), nowhere); err != nil {
		t.Fatal(err)
	}
	if err := smtpd.AddUser(nowhere, "ann", "x"); err == nil || !strings.Contains(err.Error(), "leads nowhere") {
		t.Errorf("a link to nothing: %v", err)
	}
}

// TestUsersPipe shows that nobody waits for the writer of a named pipe.
func TestUsersPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := smtpd.LoadUsers(file); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a named pipe: %v", err)
	}
}

// TestUsersOwner needs root to give a file away.
func TestUsersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, which CI has to be")
		}
		t.Skip("needs root to give a file away: that edits keep the owner is not tested")
	}
	file := usersFile(t, "ann:"+hashUU+"\n")
	if err := os.Chown(file, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := smtpd.AddUser(file, "ben", "x"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 12345 || st.Gid != 23456 || info.Mode().Perm() != 0o640 {
		t.Errorf("now of %d:%d with %v", st.Uid, st.Gid, info.Mode())
	}
}
