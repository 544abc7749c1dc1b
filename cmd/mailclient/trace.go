package main

import (
	"github.com/spf13/cobra"

	"postern.example/mailclient"
)

func traceCommand(s streams) *cobra.Command {
	var server serverFlags
	var msg messageFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "trace --to ADDR [flags]",
		Short: "Send a mail and show every line of it",
		Long: "Sends a mail as send does, and shows every line that travelled, both ways: when,\n" +
			"how long it took, and what it means. Secrets are not shown.\n\n" + exitHelp,
		Example: "  mailclient trace --to ada@example.org --subject Hello --body 'It works.'",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			res, err := server.send(c, &msg, s)
			if res == nil {
				return err
			}
			werr := func() error {
				if asJSON {
					return writeJSON(s.out, report{Result: res, Error: errText(err), Trace: &res.Trace})
				}
				if len(res.Trace.Events) == 0 {
					return nil // nothing came about that could be shown
				}
				if err := mailclient.WriteTrace(s.out, res.Trace, mailclient.TraceOptions{Width: columns(s.out)}); err != nil {
					return err
				}
				return writeVerdicts(s.out, res, "\n")
			}()
			if err == nil {
				err = written(werr)
			}
			return err
		},
	}
	server.register(c, "server")
	msg.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "verdicts and events in JSON, times in nanoseconds")
	return c
}
