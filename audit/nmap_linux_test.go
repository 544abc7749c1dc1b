package audit_test

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern.example/audit"
	"postern.example/audit/record"
)

// These tests compare an audit with nmap, in network namespaces of their own, so
// that no port of another program blurs the picture and no packet leaves them.
// The test runs itself again inside a new namespace; the host that is audited is
// a second such process in a second namespace, joined by a veth pair.

// nmapRun is what is read of nmap's XML.
type nmapRun struct {
	Hosts []struct {
		Ports []struct {
			Number uint16 `xml:"portid,attr"`
			State  struct {
				State  string `xml:"state,attr"`
				Reason string `xml:"reason,attr"`
			} `xml:"state"`
		} `xml:"ports>port"`
		Extra []struct {
			State   string `xml:"state,attr"`
			Count   int    `xml:"count,attr"`
			Reasons []struct {
				Reason string `xml:"reason,attr"`
				Ports  string `xml:"ports,attr"`
			} `xml:"extrareasons"`
		} `xml:"ports>extraports"`
	} `xml:"host"`
}

// nmap returns the state and the reason of every TCP port of addr, in our words.
func nmap(t *testing.T, method, addr string) map[uint16]string {
	t.Helper()
	args := []string{method, "-p-", "-n", "-Pn", "-oX", "-", addr}
	if strings.Contains(addr, ":") {
		args = append([]string{"-6"}, args...)
	}
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), "nmap", args...).Output()
	if err != nil {
		t.Fatalf("nmap: %v\n%s", err, out)
	}
	t.Logf("nmap %s: %v", strings.Join(args, " "), time.Since(began).Round(time.Millisecond))
	var run nmapRun
	if err := xml.Unmarshal(out, &run); err != nil || len(run.Hosts) != 1 {
		t.Fatalf("%v, %d hosts in\n%s", err, len(run.Hosts), out)
	}
	words := map[string]record.Evidence{
		"syn-ack": record.SynAck, "reset": record.Reset, "conn-refused": record.Reset, "no-response": record.NoResponse,
		"port-unreach": record.PortUnreachable, "admin-prohibited": record.AdminProhibited,
	}
	ports := make(map[uint16]string)
	for _, p := range run.Hosts[0].Ports {
		ports[p.Number] = fmt.Sprintf("%s %s", p.State.State, words[p.State.Reason])
	}
	for _, e := range run.Hosts[0].Extra {
		for _, r := range e.Reasons {
			set, err := record.ParsePorts(r.Ports)
			if err != nil {
				t.Fatalf("nmap's ports %q: %v", r.Ports, err)
			}
			for p := range set.TCP.All() {
				ports[p] = fmt.Sprintf("%s %s", e.State, words[r.Reason])
			}
		}
	}
	if len(ports) != 65535 {
		t.Fatalf("nmap tells of %d ports:\n%.2000s", len(ports), out)
	}
	return ports
}

// ours returns the same of an audit. Every port is expected, so that every port
// has a record.
func ours(t *testing.T, addr string) map[uint16]string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nallow: ['%s']\nhosts:\n- name: host\n  address: '%s'\n  expect:\n", addr, addr)
	for p := 1; p <= 65535; p++ {
		fmt.Fprintf(&b, "  - port: %d/tcp\n", p)
	}
	inv := parse(t, b.String())
	began := time.Now()
	run, err := audit.Run(t.Context(), inv, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("audit %s: %v", addr, time.Since(began).Round(time.Millisecond))
	if !run.Info.Complete {
		t.Errorf("the audit is incomplete: %q", run.Info.Incomplete)
	}
	ports := make(map[uint16]string)
	for _, r := range run.Records {
		ports[r.Port] = fmt.Sprintf("%s %s", r.State, r.Evidence)
	}
	return ports
}

// agree compares every port, and that the interesting ones are as they were set
// up: two tools could agree and both be wrong.
func agree(t *testing.T, theirs, ours map[uint16]string, known map[uint16]string) {
	t.Helper()
	differ := 0
	for p := 1; p <= 65535; p++ {
		want := known[uint16(p)]
		if want == "" {
			want = "closed reset"
		}
		a, b := ours[uint16(p)], theirs[uint16(p)]
		if a == want && b == want {
			continue
		}
		if differ++; differ <= 20 {
			t.Errorf("port %d is %q, audit says %q, nmap %q", p, want, a, b)
		}
	}
	if differ > 20 {
		t.Errorf("and %d more", differ-20)
	}
}

func TestNmapAgreesOnLoopback(t *testing.T) {
	if !inside(t, "nmap", "ip") {
		return
	}
	sh(t, "", "ip", "link", "set", "lo", "up")
	const addr = "127.0.0.5"
	known := make(map[uint16]string)
	// In a namespace of its own even fixed ports are free.
	for _, p := range []string{"1", "22", "1024", "0", "0", "0", "0", "0", "0", "0", "0", "0", "65535"} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, p))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		known[uint16(l.Addr().(*net.TCPAddr).Port)] = "open syn-ack"
	}
	agree(t, nmap(t, "-sT", addr), ours(t, addr), known)
}

// The address plan of the pair of namespaces.
const (
	scanner4, host4 = "10.99.0.1", "10.99.0.2"
	scanner6, host6 = "fd99::1", "fd99::2"
)

// rules is the firewall of the host. Port 9999 is open behind it.
const rules = `table inet postern {
	chain input {
		type filter hook input priority 0;
		tcp dport { 111, 2000-2004, 9999, 50000 } drop
		tcp dport 3001 reject with icmpx type port-unreachable
		tcp dport 3002 reject with icmpx type admin-prohibited
		tcp dport 3003 reject with tcp reset
	}
}
`

func hostListens() []int { return []int{1, 22, 25, 80, 443, 8080, 9999, 32768, 45678, 65535} }

func hostPorts() map[uint16]string {
	known := make(map[uint16]string)
	for _, p := range hostListens() {
		known[uint16(p)] = "open syn-ack"
	}
	for _, p := range []uint16{111, 2000, 2001, 2002, 2003, 2004, 9999, 50000} {
		known[p] = "filtered no-response"
	}
	known[3001] = "filtered port-unreachable"
	known[3002] = "filtered admin-prohibited"
	return known
}

// TestHostRole is the host that is audited, when TestNmapAgreesOnHost starts it.
// In an ordinary run it has nothing to do, and nothing to skip either.
func TestHostRole(t *testing.T) {
	if os.Getenv(roleEnv) != host {
		return
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	sh(t, "", "ip", "link", "set", "lo", "up")
	sh(t, "", "ip", "addr", "add", host4+"/24", "dev", "host")
	sh(t, "", "ip", "-6", "addr", "add", host6+"/64", "dev", "host", "nodad")
	sh(t, "", "ip", "link", "set", "host", "up")
	sh(t, rules, "nft", "-f", "-")
	// A host may hold back all but a few ICMP messages a second; that is not
	// what is tested here.
	for _, knob := range []string{"ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"} {
		if err := os.WriteFile("/proc/sys/net/"+knob, []byte("0"), 0o644); err != nil {
			t.Log(err)
		}
	}
	for _, p := range hostListens() {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(p))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, in) // until the scanner is done
}

// newHost starts the host and joins it to this namespace.
func newHost(t *testing.T) {
	t.Helper()
	cmd := inNamespace(t, "TestHostRole", host)
	// Inside, everybody is root already.
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		lacks(t, fmt.Sprintf("a second network namespace: %v", err))
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the host: %v", err)
		}
	})
	sh(t, "", "ip", "link", "set", "lo", "up")
	sh(t, "", "ip", "link", "add", "scanner", "type", "veth", "peer", "name", "host", "netns", strconv.Itoa(cmd.Process.Pid))
	sh(t, "", "ip", "addr", "add", scanner4+"/24", "dev", "scanner")
	sh(t, "", "ip", "-6", "addr", "add", scanner6+"/64", "dev", "scanner", "nodad")
	sh(t, "", "ip", "link", "set", "scanner", "up")
	if _, err := io.WriteString(stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(stdout)
	var all []string
	for said.Scan() {
		all = append(all, said.Text())
		if said.Text() == "ready" {
			// What else it says must not block it.
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				_, _ = io.Copy(io.Discard, stdout)
			}()
			t.Cleanup(func() { stdin.Close(); <-drained })
			return
		}
	}
	t.Fatalf("the host is not ready:\n%s", strings.Join(all, "\n"))
}

func TestNmapAgreesOnHost(t *testing.T) {
	if !inside(t, "nmap", "ip", "nft") {
		return
	}
	newHost(t)
	for _, addr := range []string{host4, host6} {
		t.Run(addr, func(t *testing.T) {
			agree(t, nmap(t, "-sS", addr), ours(t, addr), hostPorts())
		})
	}
}

// What the kernel itself says about a way there is our failure or silence, and
// each is told from what a target says.
func TestOwnNetworkFails(t *testing.T) {
	t.Parallel() // it waits more than it works
	if !inside(t, "ip", "nft") {
		return
	}
	newHost(t)
	sh(t, "", "ip", "route", "add", "unreachable", "10.97.0.0/24")
	sh(t, "", "ip", "route", "add", "prohibit", "10.96.0.0/24")
	sh(t, "", "ip", "route", "add", "blackhole", "10.95.0.0/24")
	inv := parse(t, `version: 1
allow: [10.0.0.0/8, 'fd99::/64', 'fd98::/64', 127.0.0.0/8]
defaults: {ports: {tcp: 20-29}}
hosts:
- {name: here, address: `+host4+`}
- {name: no-neighbour, address: 10.99.0.77}
- {name: no-neighbour6, address: 'fd99::77'}
- {name: no-route, address: 10.98.0.1}
- {name: no-route6, address: 'fd98::1'}
- {name: unreachable, address: 10.97.0.1}
- {name: prohibited, address: 10.96.0.1}
- {name: blackhole, address: 10.95.0.1}
`)
	run, err := audit.Run(t.Context(), inv, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		status record.Status
		state  record.State
	}{
		"here":          {record.Done, record.Closed},
		"no-neighbour":  {record.Silent, record.Filtered},
		"no-neighbour6": {record.Silent, record.Filtered},
		"no-route":      {record.Partial, record.Unknown},
		"no-route6":     {record.Partial, record.Unknown},
		"unreachable":   {record.Partial, record.Unknown},
		"prohibited":    {record.Partial, record.Unknown},
		"blackhole":     {record.Partial, record.Unknown},
	}
	for _, h := range run.Hosts {
		n := 10
		if h.Host == "here" {
			n = 8 // 22 and 25 are open
		}
		if w := want[h.Host]; h.Status != w.status || h.States[w.state] != n {
			t.Errorf("%s is %s with %v: %s", h.Host, h.Status, h.States, h.Detail)
		}
	}
	if run.Info.Complete {
		t.Error("the run is complete")
	}
}

// With few source ports to choose from, many attempts meet themselves. That is no
// open port.
func TestSelfConnect(t *testing.T) {
	t.Parallel()
	if !inside(t, "ip") {
		return
	}
	sh(t, "", "ip", "link", "set", "lo", "up")
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40015"), 0o644); err != nil {
		lacks(t, fmt.Sprintf("to set the range of source ports: %v", err))
	}
	inv := parse(t, "version: 1\nallow: [127.0.0.0/8]\nhosts: [{name: a, address: 127.0.0.1, ports: {tcp: 40000-40015}}]\n")
	closed := 0
	for range 20 {
		run, err := audit.Run(t.Context(), inv, audit.Options{MaxTime: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		s := run.Hosts[0].States
		closed += s[record.Closed]
		if s[record.Open]+s[record.Filtered] > 0 {
			t.Fatalf("%v: %+v", s, run.Records)
		}
	}
	if closed == 0 {
		t.Error("no port was found closed")
	}
	// With one source port every attempt at it meets itself, however often the
	// dialer tries: it is never open, and never known.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40000"), 0o644); err != nil {
		t.Fatal(err)
	}
	inv = parse(t, "version: 1\nallow: [127.0.0.0/8]\nhosts: [{name: a, address: 127.0.0.1, ports: {tcp: 40000}}]\n")
	run, err := audit.Run(t.Context(), inv, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := run.Hosts[0].States; s[record.Unknown] != 1 || run.Info.Complete || !strings.Contains(run.Hosts[0].Detail, "self-connect") {
		t.Errorf("%v: %+v", s, run.Hosts[0])
	}
}
