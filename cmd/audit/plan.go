package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern.example/audit"
	"postern.example/audit/record"
	"postern.example/audit/scope"
)

func newPlan(s streams) *cobra.Command {
	var sel selection
	var asJSON bool
	c := quietly(&cobra.Command{
		Use:   "plan --inventory hosts.yaml",
		Short: "Show what an audit would do, and touch nothing",
		Long: `plan reads the inventory and says which ports of which hosts an audit would look
at and about how long it takes at most. It contacts nothing: no host, and no
name server either, so names are shown as they stand.

Exit codes:
  0  the plan was shown
  2  wrong usage or inventory
  3  the plan could not be written`,
		Example: "  audit plan --inventory hosts.yaml --host mail1",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := sel.checkSet(c); err != nil {
				return err
			}
			inv, opts, err := sel.load()
			if err != nil {
				return err
			}
			p, err := audit.NewPlan(inv, opts)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(s.out)
				e.SetIndent("", "  ")
				err = e.Encode(p)
			} else {
				err = showPlan(s.out, p)
			}
			if err != nil {
				return incomplete{fmt.Errorf("write plan: %w", err)}
			}
			return nil
		},
	})
	c.Flags().SortFlags = false
	sel.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return c
}

// showPlan prints p for a person. Everything in it has passed the inventory's
// own checks; it is cleaned all the same.
func showPlan(w io.Writer, p audit.Plan) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tADDRESSES\tTCP PORTS\tUDP PORTS\tEXPECTED\tOWNER")
	for _, h := range p.Hosts {
		var where []string
		for _, a := range h.Addresses {
			where = append(where, a.String())
		}
		for _, n := range h.Names {
			where = append(where, record.Clean(n)+" (to be resolved)")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", record.Clean(h.Host), strings.Join(where, ", "),
			ports(h.TCP), ports(h.UDP), h.Expected, record.Clean(h.Owner))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\nMay be contacted:")
	for _, a := range p.Allow {
		fmt.Fprintf(w, " %v", a.Prefix)
		if a.Reach == scope.Public {
			fmt.Fprint(w, " (public)")
		}
	}
	if len(p.Exclude) > 0 {
		fmt.Fprintf(w, "\nNever: %s", strings.Join(p.Exclude, " "))
	}
	fmt.Fprintf(w, "\nIn all: %s, %s, %s, %s\n",
		count(len(p.Hosts), "host", "hosts"), count(p.Addresses+p.Names, "address", "addresses"),
		count(p.Ports, "TCP port", "TCP ports"), worst(p))
	for _, n := range p.Notes {
		fmt.Fprintf(w, "Note: %s\n", record.Clean(n))
	}
	_, err := fmt.Fprintln(w, "Nothing was contacted.")
	return err
}

// worst says how long the audit takes at most.
func worst(p audit.Plan) string {
	d := p.WorstCase
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	if p.Ports == 0 {
		return "so nothing to wait for"
	}
	return fmt.Sprintf("at most about %v if nothing answers", d)
}

// ports shortens a list of ranges.
func ports(s string) string {
	const most = 40
	switch {
	case s == "":
		return "-"
	case len(s) > most:
		return s[:strings.LastIndexByte(s[:most], ',')+1] + "…"
	}
	return s
}
