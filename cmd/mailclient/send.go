package main

import (
	"github.com/spf13/cobra"

	"postern.example/mailclient"
)

func sendCommand(s streams) *cobra.Command {
	var server serverFlags
	var msg messageFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "send --to ADDR [flags]",
		Short: "Send a mail",
		Long:  "Sends a mail and says for each recipient what became of it.\n\n" + exitHelp,
		Example: `  mailclient send --to ada@example.org --subject Hello --body 'It works.'
  mailclient send --to ada@example.org --html @page.html --attach plan.pdf
  mailclient send --server smtps://mail.example.org --user me --password-file ~/.pw --to ada@example.org --eml mail.eml`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			res, err := server.send(c, &msg, s)
			if res == nil {
				return err
			}
			var werr error
			if asJSON {
				werr = writeJSON(s.out, report{Result: res, Error: errText(err)})
			} else {
				werr = writeVerdicts(s.out, res, "")
			}
			if err == nil {
				err = written(werr)
			}
			return err
		},
	}
	server.register(c, "server")
	msg.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "a verdict for each recipient in JSON")
	return c
}

// report is what send and trace write in JSON.
type report struct {
	*mailclient.Result
	Error string            `json:"error,omitempty"`
	Trace *mailclient.Trace `json:"trace,omitempty"`
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// send makes the message and carries it. The result is nil where nothing was
// sent, since the input was at fault.
func (f *serverFlags) send(c *cobra.Command, msg *messageFlags, s streams) (*mailclient.Result, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	m, err := msg.message(s.in)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	ctx, stop := interruptible(c.Context())
	defer stop()
	return mailclient.Send(ctx, o, m)
}
