package main_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"postern.example/audit"
	main "postern.example/cmd/audit"
)

func inventoryHelp(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	if code := main.Run(t.Context(), []string{"help", "inventory"}, strings.NewReader(""), &out, io.Discard); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("wider than a terminal: %s", line)
		}
	}
	return out.String()
}

// The example in the help is an inventory, and shows every key there is.
func TestInventoryHelpExample(t *testing.T) {
	_, example, ok := strings.Cut(inventoryHelp(t), "Example:\n\n")
	example, _, ends := strings.Cut(example, "\n\n")
	if !ok || !ends {
		t.Fatal("the help has no example")
	}
	var text strings.Builder
	for line := range strings.SplitSeq(example, "\n") {
		text.WriteString(strings.TrimPrefix(line, "  ") + "\n")
	}
	inv, err := audit.Parse("example.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.Hosts) != 3 || inv.Hosts[0].Ports.TCP.Len() != 65535 || inv.Hosts[0].Ports.UDP.Len() != 0 ||
		inv.Hosts[1].Ports.TCP.Len() != 1+11+1+1000 || inv.Hosts[2].Ports.TCP.Len() != 1 || inv.Hosts[2].Ports.UDP.Len() != 2 {
		t.Errorf("%+v", inv.Hosts)
	}
	for _, key := range keys(t) {
		if !regexp.MustCompile(`(^|[\s{])` + key + `:`).MatchString(text.String()) {
			t.Errorf("the example does not show %s", key)
		}
	}
}

// The help has an entry for every key that an inventory may hold.
func TestInventoryHelpKeys(t *testing.T) {
	help := inventoryHelp(t)
	for _, key := range keys(t) {
		switch key {
		case "tcp", "udp": // with ports
			if !strings.Contains(help, "tcp and udp") {
				t.Error("nothing is said about tcp and udp")
			}
		default:
			if !regexp.MustCompile(`(?m)^  ` + key + `  +[^ ]`).MatchString(help) {
				t.Errorf("nothing is said about %s", key)
			}
		}
	}
	for _, want := range []string{"loopback", "private", "any", "1-65535", "UDP ports are not probed", "sticky bit"} {
		if !strings.Contains(help, want) {
			t.Errorf("nothing is said about %s", want)
		}
	}
}

// What is left out of ports is what the help says.
func TestInventoryHelpDefaultPorts(t *testing.T) {
	inv, err := audit.Parse("h.yaml", []byte("version: 1\nallow: [127.0.0.0/8]\nhosts:\n- {name: a, address: 127.0.0.1}\n- {name: b, address: 127.0.0.2, ports: {udp: 53}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := inv.Hosts[0].Ports, inv.Hosts[1].Ports; a.TCP.String() != "1-65535" || a.UDP.Len() != 0 || b.TCP.String() != "1-65535" || b.UDP.String() != "53" {
		t.Errorf("%v, %v", a, b)
	}
}

// keys returns every key that the parser takes, as its own faults name them.
func keys(t *testing.T) []string {
	t.Helper()
	const wrong = "wrong: 1\nversion: 1\nallow: [127.0.0.1]\ndefaults: {wrong: 1, ports: {wrong: 1}}\n" +
		"hosts: [{name: a, address: 127.0.0.1, wrong: 1, expect: [{port: 1/tcp, wrong: 1}]}]\n"
	_, err := audit.Parse("h.yaml", []byte(wrong))
	var inv *audit.InventoryError
	if !errors.As(err, &inv) || len(inv.Faults) != 5 {
		t.Fatalf("%v", err)
	}
	var all []string
	for _, f := range inv.Faults {
		_, list, ok := strings.Cut(f.Text, "it may hold ")
		if !ok {
			t.Fatalf("%v", f)
		}
		all = append(all, strings.Split(list, ", ")...)
	}
	return all
}
