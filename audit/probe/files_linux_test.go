package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern.example/audit/probe"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// The number of attempts at once leaves a descriptor for everything that an
// attempt opens: with many silent targets none runs short.
func TestDescriptorsSuffice(t *testing.T) {
	port := silentPort(t)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := before
	low.Cur = min(before.Cur, 300)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Skipf("needs to lower its descriptor limit: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	w := loopback(t)
	tg, err := w.Target(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	var jobs []probe.Job
	for i := range 250 {
		jobs = append(jobs, probe.Job{Host: i, Target: tg, Ports: ports(port, port)})
	}
	connect := probe.Connect(w)
	var now, most, short atomic.Int64
	dial := func(ctx context.Context, tg scope.Target, port uint16, _ time.Duration) (netip.AddrPort, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		local, err := connect(ctx, tg, port, 250*time.Millisecond)
		var f *scope.Failure
		if errors.As(err, &f) && f.Cause == scope.Exhausted {
			short.Add(1)
		}
		return local, err
	}
	for i, got := range run(t, t.Context(), probe.Config{Dial: dial}, jobs) {
		if s := states(got); s[record.Filtered] != 1 {
			t.Errorf("target %d: %v", i, got)
		}
	}
	if short.Load() > 0 {
		t.Errorf("%d attempts found no descriptor, with %d at once", short.Load(), most.Load())
	}
	if most.Load() < 64 {
		t.Errorf("only %d attempts at once: that shows nothing", most.Load())
	}
}

// silentPort returns a port of 127.0.0.1 at which SYNs are dropped: its listener's
// queue is full, and nobody takes anything out of it.
func silentPort(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(sa.(*unix.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 250*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("needs a kernel that drops SYNs at a full queue")
	return 0
}
