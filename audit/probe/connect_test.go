package probe_test

import (
	"net"
	"net/netip"
	"testing"

	"postern.example/audit/probe"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

func scopeOfLoopback() (*scope.Wall, error) {
	return scope.New(scope.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
}

func loopback(t *testing.T) *scope.Wall {
	t.Helper()
	w, err := scopeOfLoopback()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A real listener among real closed ports, on both families.
func TestConnect(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Skipf("needs the address %s on this machine: %v", host, err)
			}
			defer l.Close()
			open := uint16(l.Addr().(*net.TCPAddr).Port)
			gone, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			closed := uint16(gone.Addr().(*net.TCPAddr).Port)
			gone.Close()
			w := loopback(t)
			tg, err := w.Target(netip.MustParseAddr(host))
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, t.Context(), probe.Config{Dial: probe.Connect(w)}, []probe.Job{{Target: tg, Ports: record.PortSet{}.Add(open, closed)}})[0]
			if r := got[open]; r.State != record.Open || r.Evidence != record.SynAck || !r.Answered {
				t.Errorf("the listener's port: %+v", r)
			}
			if r := got[closed]; r.State != record.Closed || r.Evidence != record.Reset || !r.Answered {
				t.Errorf("the closed port: %+v", r)
			}
		})
	}
}
