package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// The roles in which this test binary runs itself.
const (
	roleEnv = "POSTERN_TEST_ROLE"
	scanner = "scanner"
	host    = "host"
)

// lacks skips the test, or fails it where nothing may be lacking.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// inNamespace prepares this test binary to run one test in a new network
// namespace, as root there.
func inNamespace(t *testing.T, test, role string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// No context: the host outlives the test's own, which ends before clean-up.
	// Pdeathsig ends what is left with this process.
	cmd := exec.Command(self, "-test.run=^"+test+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if id := os.Getuid(); id != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// inside runs the calling test in a namespace of its own and returns true in
// there; outside it hands the verdict on and returns false.
func inside(t *testing.T, programs ...string) bool {
	t.Helper()
	if os.Getenv(roleEnv) == scanner {
		return true
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			lacks(t, "the program "+p)
		}
	}
	out, err := inNamespace(t, t.Name(), scanner).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL):
		lacks(t, fmt.Sprintf("to be allowed a network namespace of its own: %v", err))
	case errors.As(err, &exit):
		t.Fatalf("in the namespace:\n%s", out)
	case err != nil:
		t.Fatal(err)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name())):
		lacks(t, fmt.Sprintf("more than it has in its namespace:\n%s", out))
	}
	t.Logf("in the namespace:\n%s", out)
	return false
}

// sh runs a program that sets the namespace up.
func sh(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
