package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"postern.example/smtpd"
)

// user runs smtpd user, and returns what it prints and its exit code.
func user(t *testing.T, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := userCommand(stdin, &out, &errOut)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	var env environmentError
	switch {
	case errors.As(err, &env):
		code = exitEnvironment
	case err != nil:
		code = exitUsage
	}
	if err != nil {
		errOut.WriteString(err.Error())
	}
	return code, out.String(), errOut.String()
}

func TestUser(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "users")
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	verify := func(name, password string, want bool) {
		t.Helper()
		u, err := smtpd.LoadUsers(file)
		if err != nil {
			t.Fatal(err)
		}
		if u.Verify(name, password) != want {
			t.Errorf("%s with %q: not %v", name, password, want)
		}
	}
	steps := []struct {
		args   string
		stdin  string
		code   int
		stdout string
		stderr string // part of it
	}{
		{"list", "", 2, "", "no such file"},
		{"passwd ann", "x", 2, "", "no such file"},
		{"remove ann", "", 2, "", "no such file"},
		{"add ann", "one two\n", 0, "", "added ann"},
		{"add ann", "x", 2, "", "the user exists already"},
		{"add bob --password-file " + write("pw", "from a file\r\n"), "ignored", 0, "", "added bob"},
		{"list", "", 0, "ann\nbob\n", ""},
		{"passwd ann", "three", 0, "", "changed ann"},
		{"passwd eve", "x", 2, "", "there is no such user"},
		{"remove bob", "", 0, "", "removed bob"},
		{"remove bob", "", 2, "", "there is no such user"},
		{"list", "", 0, "ann\n", ""},
		{"add a:b", "", 2, "", "holds a colon"},
		{"add eve", "", 2, "", "standard input holds none"},
		{"add eve", "\n", 2, "", "holds none"},
		{"add eve", "one\ntwo\n", 2, "", "more than one line"},
		{"add eve", "tab\there", 2, "", "control character"},
		{"add eve", strings.Repeat("x", 1025), 2, "", "longer than 1024"},
		{"add eve", strings.Repeat("x", 100_000), 2, "", "more than a password"},
		{"add eve --password-file " + write("empty", ""), "x", 2, "", "holds none"},
		{"add eve --password-file " + filepath.Join(dir, "none"), "x", 2, "", "no such file"},
		{"add", "", 2, "", "accepts 1 arg"},
		{"add eve ben", "", 2, "", "accepts 1 arg"},
		{"list eve", "", 2, "", `unknown command "eve"`},
		{"frob", "", 2, "", `unknown command "frob"`},
		{"", "", 2, "", "one of add, passwd, remove and list"},
		{"list --nonsense", "", 2, "", "unknown flag"},
		{"list", "", 0, "ann\n", ""},
	}
	for _, s := range steps {
		code, stdout, stderr := user(t, strings.NewReader(s.stdin), append(strings.Fields(s.args), "--users", file)...)
		if runtime.GOOS == "windows" && s.stderr == "no such file" {
			s.stderr = "cannot find"
		}
		if code != s.code || stdout != s.stdout || !strings.Contains(stderr, s.stderr) {
			t.Errorf("user %s: exit %d\nstdout %q\nstderr %q\nwanted %+v", s.args, code, stdout, stderr, s)
		}
	}
	verify("ann", "three", true)
	verify("ann", "one two", false)
	verify("bob", "from a file", false)

	// The file by its variable, and nowhere.
	t.Setenv("SMTPD_USERS", file)
	if code, stdout, _ := user(t, nil, "list"); code != 0 || stdout != "ann\n" {
		t.Errorf("by the variable: exit %d, %q", code, stdout)
	}
	if code, _, stderr := user(t, nil, "add", "eve"); code != 2 || !strings.Contains(stderr, "no standard input") {
		t.Errorf("without input: exit %d, %q", code, stderr)
	}
	t.Setenv("SMTPD_USERS", "")
	if code, _, stderr := user(t, nil, "list"); code != 2 || !strings.Contains(stderr, "--users FILE") {
		t.Errorf("without a file: exit %d, %q", code, stderr)
	}
	if code, stdout, stderr := user(t, nil, "--help"); code != 0 || stderr != "" || !strings.Contains(stdout, "Exit: 0 done") ||
		!strings.Contains(stdout, "--users FILE") || !strings.Contains(stdout, "passwd") {
		t.Errorf("help: exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestUserEnvironment has the machine in the way, not the wording.
func TestUserEnvironment(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file in the place of a folder is another error on Windows")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := user(t, strings.NewReader("x"), "add", "ann", "--users", filepath.Join(file, "users"))
	if code != 1 || !strings.Contains(stderr, "not a directory") {
		t.Errorf("a file in the place of a folder: exit %d, %q", code, stderr)
	}
	if code, _, stderr := user(t, iotest{}, "add", "ann", "--users", file); code != 1 || !strings.Contains(stderr, "broken pipe") {
		t.Errorf("a broken input: exit %d, %q", code, stderr)
	}
}

type iotest struct{}

func (iotest) Read([]byte) (int, error) { return 0, errors.New("broken pipe") }
