//go:build unix

package audit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern.example/audit"
)

// An inventory that belongs to another user is not ours to trust, wherever it
// lies, and neither is one that another user put a folder or a symlink before.
func TestLoadOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		lacksRoot(t)
	}
	const nobody = 65534
	dir := filepath.Join(t.TempDir(), "sticky")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	put := func(path string) string {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	give := func(path string) {
		t.Helper()
		if err := os.Lchown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, at string) string {
		t.Helper()
		at = filepath.Join(dir, at)
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
		return at
	}

	own := put("own.yaml")
	theirs := put("theirs.yaml")
	give(theirs)
	inTheirs := put("their/hosts.yaml")
	give(filepath.Dir(inTheirs))
	deep := put("outer/inner/hosts.yaml")
	give(filepath.Join(dir, "outer"))
	theirLink := link("own.yaml", "their-link.yaml")
	give(theirLink)

	for path, want := range map[string]string{
		own:                               "",
		link("own.yaml", "link.yaml"):     "",
		theirs:                            "theirs.yaml belongs to user 65534",
		link("theirs.yaml", "to-theirs"):  "theirs.yaml belongs to user 65534",
		inTheirs:                          "the folder " + filepath.Dir(inTheirs) + " belongs to user 65534",
		link("their/hosts.yaml", "to-in"): "the folder " + filepath.Dir(inTheirs) + " belongs to user 65534",
		deep:                              "the folder " + filepath.Join(dir, "outer") + " belongs to user 65534",
		theirLink:                         "the symlink " + theirLink + " belongs to user 65534",
	} {
		_, err := audit.Load(path)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", path, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	// A sticky folder is good only as far as its owner is.
	give(dir)
	if _, err := audit.Load(own); err == nil || !strings.Contains(err.Error(), "the folder "+dir+" belongs to user 65534") {
		t.Errorf("in a sticky folder of another user: %v", err)
	}
}

func lacksRoot(t *testing.T) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, to give files away")
	}
	t.Skip("needs root, to give files away")
}
