package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"postern.example/mailclient"
)

func readCommand(s streams) *cobra.Command {
	var o mailclient.ReadOptions
	var to string
	var raw, asJSON bool
	c := &cobra.Command{
		Use:   "read [--id ID] [flags]",
		Short: "Read a mail back from smtpd",
		Long: "Fetches a mail from smtpd's HTTP API and shows its main fields and its text,\n" +
			"decoded, with everything escaped that a terminal would obey.\n\n" +
			exitHelp + "\nHere 75 also says that there is no such mail yet, and 65 that an id is not known.",
		Example: "  mailclient read --http http://127.0.0.1:8025\n  mailclient read --to ada@example.org --raw",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := mailclient.ParseHTTP(o.HTTP); err != nil {
				return fmt.Errorf("--http: %w", err)
			}
			if o.Timeout <= 0 {
				return errors.New("--timeout: want more than nothing, such as 10s")
			}
			if to != "" {
				m, err := mailclient.ParseMailbox(to)
				if err != nil {
					return fmt.Errorf("--to: %w", err)
				}
				o.To = m.Address
			}
			ctx, stop := interruptible(c.Context())
			defer stop()
			r, err := mailclient.Read(ctx, o)
			if err != nil {
				return err
			}
			switch {
			case raw:
				_, err = s.out.Write(r.Raw)
			case asJSON:
				err = writeJSON(s.out, r)
			default:
				err = mailclient.WriteReceived(s.out, r)
			}
			return written(err)
		},
	}
	fs := c.Flags()
	fs.StringVar(&o.HTTP, "http", mailclient.DefaultHTTP, "`URL` of smtpd's HTTP side")
	fs.StringVar(&o.ID, "id", "newest", "which mail: an `ID`, or newest")
	fs.StringVar(&to, "to", "", "of the newest, the one for this `ADDR`")
	fs.DurationVar(&o.Timeout, "timeout", mailclient.DefaultTimeout, "longest wait for each step, as a `TIME` such as 10s or 2m")
	fs.BoolVar(&raw, "raw", false, "the bytes as they are kept")
	fs.BoolVar(&asJSON, "json", false, "fields, text and attachments in JSON")
	exclusive(c, "raw", "json")
	return c
}
