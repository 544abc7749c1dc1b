package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern.example/audit"
	"postern.example/audit/record"
)

// selection is the flags that say what an audit looks at and how fast. Scanning
// and planning share them, so that a plan is of the audit it stands for.
type selection struct {
	inventory string
	hosts     []string
	ports     string
	method    string
	rate      perSecond
	hostRate  perSecond
	maxTime   time.Duration
}

func (s *selection) add(f *pflag.FlagSet) {
	f.StringVarP(&s.inventory, "inventory", "i", "", "the `FILE` that says which hosts there are and what may be contacted; see audit help inventory")
	f.StringArrayVar(&s.hosts, "host", nil, "look at the host of this `NAME` only (may stand several times); narrows the inventory, never widens it")
	f.StringVar(&s.ports, "ports", "", "look at these ports instead of the inventory's: `SPEC` like 22,80-90,53/udp (TCP unless it says udp)")
	f.StringVar(&s.method, "method", "auto", "the `METHOD` of probing: auto or connect; syn is not in this version")
	f.Var(&s.rate, "rate", "at most `N/s` attempts a second over all, like 500/s or just 500 (default no limit)")
	f.Var(&s.hostRate, "host-rate", "at most `N/s` attempts a second for each host, like 50/s or just 50 (default no limit but the congestion window)")
	f.DurationVar(&s.maxTime, "max-time", 0, "stop after this `TIME`, for instance 10m; expected ports go first, what was not reached is unknown (default no limit)")
}

// load returns the inventory and the options that the flags stand for.
func (s *selection) load() (*audit.Inventory, audit.Options, error) {
	o := audit.Options{
		Hosts: s.hosts, Method: audit.Method(s.method),
		Rate: float64(s.rate), HostRate: float64(s.hostRate), MaxTime: s.maxTime,
	}
	if s.inventory == "" {
		return nil, o, errors.New("--inventory FILE is needed: it says what may be contacted; see audit help inventory")
	}
	if s.ports != "" {
		p, err := record.ParsePorts(s.ports)
		if err != nil {
			return nil, o, fmt.Errorf("--ports: %w", err)
		}
		o.Ports = &p
	}
	inv, err := audit.Load(s.inventory)
	return inv, o, err
}

// checkSet refuses values that say nothing and yet were given.
func (s *selection) checkSet(c *cobra.Command) error {
	if c.Flags().Changed("ports") && s.ports == "" {
		return errors.New("--ports: the list is empty")
	}
	if c.Flags().Changed("max-time") && s.maxTime <= 0 {
		return fmt.Errorf("--max-time: %v is not a time to work in", s.maxTime)
	}
	return nil
}

// perSecond is a rate on the command line: "500/s", or 500.
type perSecond float64

func (p *perSecond) String() string {
	if *p == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*p), 'g', -1, 64) + "/s"
}

func (p *perSecond) Type() string { return "N/s" }

func (p *perSecond) Set(s string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	// 0 would read as "nothing" and mean "no limit"; the last comparison is for
	// NaN.
	if err != nil || !(n > 0) {
		return errors.New("write it as 500/s or 500, and more than 0")
	}
	*p = perSecond(n)
	return nil
}

// later is a flag whose work is not in this version. It takes its neutral value
// alone, so that a caller that asks for more is told, and not left to believe.
type later struct {
	name, neutral, usage string
}

func laterFlags() []later {
	return []later{
		{"identify", "none", "find out what answers on open ports: none; full is not in this version"},
		{"history", "none", "keep runs and compare them: none; a path or URL is not in this version"},
		{"mail-to", "", "mail the report: not in this version"},
		{"mail-server", "", "the server to mail it through: not in this version"},
	}
}

// value makes l a flag.
func (l later) value() *laterValue { return &laterValue{later: l} }

type laterValue struct{ later }

func (l *laterValue) String() string { return l.neutral }
func (l *laterValue) Type() string   { return "VALUE" }

func (l *laterValue) Set(s string) error {
	if s == l.neutral {
		return nil
	}
	if l.neutral == "" {
		return errors.New("this is not in this version")
	}
	return fmt.Errorf("only %s is in this version", l.neutral)
}
