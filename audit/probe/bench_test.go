package probe_test

import (
	"net/netip"
	"testing"

	"postern.example/audit/probe"
	"postern.example/audit/record"
)

// BenchmarkLoopback looks at every port of a loopback address.
func BenchmarkLoopback(b *testing.B) {
	w, err := scopeOfLoopback()
	if err != nil {
		b.Fatal(err)
	}
	tg, err := w.Target(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		probe.Run(b.Context(), probe.Config{Dial: probe.Connect(w)}, []probe.Job{{Target: tg, Ports: ports(1, 65535)}}, func(r probe.Result) {
			if r.State != record.Filtered && r.State != record.Unknown {
				n++
			}
		})
		if n != 65535 {
			b.Errorf("%d of 65535 ports answered", n)
		}
	}
	b.ReportMetric(65535*float64(b.N)/b.Elapsed().Seconds(), "ports/s")
}
