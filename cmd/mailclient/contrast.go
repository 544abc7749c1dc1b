package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"postern.example/mailclient"
)

func contrastCommand(s streams) *cobra.Command {
	var server serverFlags
	msg := messageFlags{defaultRecipient: "reader@localhost", sample: true}
	var web string
	var runs int
	var asJSON bool
	c := &cobra.Command{
		Use:   "contrast --smtp URL --http URL [flags]",
		Short: "Carry the same mail by SMTP and by HTTP, and measure both",
		Long: "Carries the same mail by SMTP and by a POST to smtpd's HTTP API, counts bytes,\n" +
			"writes, round trips and times on the connections themselves, and sets the two\n" +
			"beside each other. Without a message, a small one is made up.\n\n" + exitHelp,
		Example: "  mailclient contrast --smtp smtp://127.0.0.1:2525 --http http://127.0.0.1:8025 --runs 9",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if runs < 1 || runs > 10000 {
				return fmt.Errorf("--runs %d: want 1 to 10000", runs)
			}
			o, err := server.options()
			if err != nil {
				return err
			}
			if _, err := mailclient.ParseHTTP(web); err != nil {
				return fmt.Errorf("--http: %w", err)
			}
			m, err := msg.message(s.in)
			if err != nil {
				return err
			}
			defer m.Close()
			ctx, stop := interruptible(c.Context())
			defer stop()
			cmp, err := mailclient.Contrast(ctx, mailclient.ContrastOptions{SMTP: o, HTTP: web, Runs: runs}, m)
			if err != nil {
				return err
			}
			if asJSON {
				return written(writeJSON(s.out, cmp))
			}
			return written(mailclient.WriteContrast(s.out, cmp, mailclient.ContrastTableOptions{Width: columns(s.out)}))
		},
	}
	server.register(c, "smtp")
	msg.register(c)
	c.Flags().StringVar(&web, "http", mailclient.DefaultHTTP, "`URL` of smtpd's HTTP side")
	c.Flags().IntVar(&runs, "runs", 1, "go each way `N` times and show the medians")
	c.Flags().BoolVar(&asJSON, "json", false, "the figures in JSON, times in nanoseconds")
	return c
}
