package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"postern.example/audit"
	"postern.example/audit/record"
	"postern.example/audit/report"
)

// scan is the root command.
type scan struct {
	streams
	selection
	format     string
	outputs    []string
	open       bool
	quiet      bool
	noProgress bool
}

func newScan(s streams, code *int) *cobra.Command {
	sc := &scan{streams: s}
	c := quietly(&cobra.Command{
		Use:   "audit --inventory hosts.yaml",
		Short: "Find what listens on your own hosts and should not",
		Long: `audit connects to the TCP ports of the hosts of an inventory and compares what
answers with what the inventory expects. It contacts nothing outside the
inventory's allowlist, whatever a flag, a name or an answer says. How to write an
inventory: audit help inventory.

Run it where nothing filters on the way out. A reset or drop by this machine's
own firewall looks like the target's. What it rejects with an ICMP message is
told apart on Linux: those ports are unknown and the run is incomplete.

The report goes to standard output, everything else to standard error. Files
named by --output are written whole or not at all, readable by you alone unless
they exist already; their endings choose the format: .txt, .csv, .json, .md.

` + exitHelp,
		Example: `  audit plan --inventory hosts.yaml
  audit --inventory hosts.yaml
  audit --inventory hosts.yaml --host mail1 --ports 1-1024 --format json
  audit --inventory hosts.yaml --output report.md --output report.csv`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if err := sc.checkSet(c); err != nil {
				return err
			}
			*code, err = sc.run(c.Context())
			return err
		},
	})
	f := c.Flags()
	f.SortFlags = false
	sc.add(f)
	f.StringVar(&sc.format, "format", string(report.Table), "`FORMAT` of standard output: table, csv, json or markdown")
	f.StringArrayVarP(&sc.outputs, "output", "o", nil, "write a report to `FILE` too (may stand several times)")
	f.BoolVar(&sc.open, "open", false, "show only open ports in the table")
	f.BoolVarP(&sc.quiet, "quiet", "q", false, "say nothing on standard error but errors")
	f.BoolVar(&sc.noProgress, "no-progress", false, "show no progress bar; there is none anyway unless standard error is a terminal")
	for _, l := range laterFlags() {
		f.Var(l.value(), l.name, l.usage)
	}
	return c
}

// run audits and reports. An error that is no incomplete means that nothing was
// contacted.
func (s *scan) run(ctx context.Context) (int, error) {
	format, err := report.ParseFormat(s.format)
	if err != nil {
		return 0, fmt.Errorf("--format: %w", err)
	}
	inv, opts, err := s.load()
	if err != nil {
		return 0, err
	}
	files, err := planOutputs(s.outputs, s.inventory)
	if err != nil {
		return 0, err
	}
	plan, err := audit.NewPlan(inv, opts)
	if err != nil {
		return 0, err
	}
	s.say("auditing %s: %s, %s, %s", record.Clean(inv.File),
		count(len(plan.Hosts), "host", "hosts"), count(plan.Ports, "TCP port", "TCP ports"), worst(plan))
	done := func() {}
	if !s.quiet && !s.noProgress && isTerminal(s.err) {
		opts.Progress, done = bar(s.err)
	}
	result, err := audit.Run(ctx, inv, opts)
	done()
	if err != nil {
		return 0, err
	}
	// A report that fails must not cost the others. Standard output goes last: it
	// may wait for its reader, or have none.
	var failed error
	for _, f := range files {
		if err := f.write(result, report.Options{OpenOnly: s.open}); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		s.say("wrote %s", record.Clean(f.path))
	}
	failed = errors.Join(failed, report.Write(s.out, format, result, report.Options{OpenOnly: s.open}))
	for _, why := range result.Info.Incomplete {
		s.say("incomplete: %s", record.Clean(why))
	}
	switch {
	case failed != nil:
		return 0, incomplete{failed}
	case !result.Info.Complete:
		return exitIncomplete, nil
	case result.Info.Findings > 0:
		return exitFindings, nil
	}
	return exitClean, nil
}

// say talks on standard error.
func (s *scan) say(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(s.err, "audit: "+format+"\n", args...)
	}
}

// bar returns a progress callback that draws on a terminal, and what takes the
// bar away again. Both are called by one goroutine.
func bar(w io.Writer) (func(audit.Progress), func()) {
	var b *progressbar.ProgressBar
	return func(p audit.Progress) {
			if p.Total == 0 {
				return
			}
			if b == nil {
				b = progressbar.NewOptions(p.Total,
					progressbar.OptionSetWriter(w),
					progressbar.OptionSetWidth(30),
					progressbar.OptionShowCount(),
					progressbar.OptionShowIts(),
					progressbar.OptionSetItsString("ports"),
					progressbar.OptionSetPredictTime(true),
					progressbar.OptionSetElapsedTime(true),
					progressbar.OptionThrottle(100*time.Millisecond),
					progressbar.OptionClearOnFinish(),
				)
			}
			b.Describe(fmt.Sprintf("%d open", p.Open))
			// A bar that cannot be drawn is no reason to stop.
			_ = b.Set(p.Done)
		}, func() {
			if b != nil {
				_ = b.Clear()
			}
		}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
