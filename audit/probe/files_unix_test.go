//go:build unix

package probe_test

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"postern.example/audit/probe"
	"postern.example/audit/record"
)

// The descriptors of this very process run out while it probes. Ports are found
// to be what they are all the same.
func TestRealDescriptorsRunOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := uint16(l.Addr().(*net.TCPAddr).Port)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := before
	low.Cur = min(before.Cur, 400)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Skipf("needs to lower its descriptor limit: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	var hold []*os.File
	defer func() {
		for _, f := range hold {
			f.Close()
		}
	}()
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		hold = append(hold, f)
	}
	const left = 5 // room for two attempts, where the limit suggests a hundred
	for _, f := range hold[len(hold)-left:] {
		f.Close()
	}
	hold = hold[:len(hold)-left]

	w := loopback(t)
	tg, err := w.Target(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	// Ports below 32 have no listener on a machine that runs tests, and if one
	// had, it would be open, not unknown.
	got := run(t, t.Context(), probe.Config{Dial: probe.Connect(w)}, []probe.Job{{Target: tg, Ports: ports(1, 60).Add(open)}})[0]
	if got[open].State != record.Open {
		t.Errorf("the listener's port: %+v", got[open])
	}
	for p, r := range got {
		if r.State != record.Open && r.State != record.Closed {
			t.Errorf("port %d: %+v", p, r)
		}
	}
	if len(got) != 61 {
		t.Errorf("%d results", len(got))
	}
}
