package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern.example/audit"
	"postern.example/audit/record"
)

// Exit codes. They are part of the interface, and this is the only place where
// errors become one.
const (
	exitClean      = 0
	exitFindings   = 1
	exitUsage      = 2 // nothing was contacted
	exitIncomplete = 3 // goes before findings
)

const exitHelp = `Exit codes:
  0  nothing found
  1  findings: an unexpected, missing or expired port
  2  wrong usage or inventory; nothing was contacted
  3  incomplete: a host refused or silent, failures on this side, a report that
     could not be written, an interruption, the time limit, or UDP ports, which
     this version does not probe. It goes before 1: findings are reported all
     the same`

// incomplete is an error after the audit: it may have found things, but not all
// of it was done or told.
type incomplete struct{ error }

// streams is where a command talks: results on out, everything else on err.
type streams struct{ out, err io.Writer }

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	code := exitClean
	s := streams{stdout, stderr}
	root := newScan(s, &code)
	root.AddCommand(newPlan(s), newInventoryTopic())
	strict(root)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return code
	}
	// An inventory's faults are lines that begin with their place, as editors
	// and CI systems read them.
	var inv *audit.InventoryError
	if errors.As(err, &inv) {
		fmt.Fprintln(stderr, inv)
		return exitUsage
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "audit: %s\n", record.Clean(line))
	}
	if errors.As(err, new(incomplete)) {
		return exitIncomplete
	}
	return exitUsage
}

// quietly lets errors come back to run, which prints them once and in its form.
func quietly(c *cobra.Command) *cobra.Command {
	c.SilenceErrors = true
	c.SilenceUsage = true
	c.SuggestionsMinimumDistance = 2
	c.Args = func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case !c.HasParent() && slices.Contains([]string{"init", "local", "diff", "history", "watch", "explain"}, args[0]):
			return fmt.Errorf("audit %s is not in this version", args[0])
		default:
			return fmt.Errorf("%s takes no argument or command %q%s; see %s --help", c.CommandPath(), args[0], meant(c, args[0]), c.CommandPath())
		}
	}
	return c
}

// meant names the commands of c that resemble name.
func meant(c *cobra.Command, name string) string {
	var like []string
	for _, s := range c.SuggestionsFor(name) {
		like = append(like, s+"?")
	}
	if len(like) == 0 {
		return ""
	}
	return " (did you mean " + strings.Join(like, " ") + ")"
}

// strict makes wrong usage an error where cobra would blame something else or
// print help and succeed.
func strict(root *cobra.Command) {
	// A misspelt command leaves the flags of the one that was meant to its parent,
	// which does not know them: the command is what is wrong.
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if wrong := c.ValidateArgs(c.Flags().Args()); wrong != nil {
			return wrong
		}
		return err
	})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "Help about a command or a topic"
			c.Run, c.RunE = nil, func(c *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				if len(rest) > 0 {
					return fmt.Errorf("there is no help about %q%s; see %s --help", rest[0], meant(about, rest[0]), about.CommandPath())
				}
				about.InitDefaultHelpFlag()
				return about.Help()
			}
		case "completion":
			c.Args, c.RunE = nil, func(c *cobra.Command, args []string) error {
				if len(args) > 0 {
					return fmt.Errorf("there is no completion for %q; see %s --help", args[0], c.CommandPath())
				}
				return c.Help()
			}
		}
	}
}
