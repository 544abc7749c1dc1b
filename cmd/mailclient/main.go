// Command mailclient sends mail, shows what travels when it does, sets SMTP
// beside HTTP, and reads mail back. See mailclient --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"postern.example/mailclient"
	"postern.example/mailclient/wire"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes are those of sysexits.h that mail programs have always given.
const (
	exitOK         = 0
	exitUsage      = 64
	exitMessage    = 65
	exitRecipients = 67
	exitPartial    = 68
	exitGone       = 69
	exitOutput     = 74
	exitAgain      = 75
	exitProtocol   = 76
	exitDenied     = 77
	exitConfig     = 78
)

const exitHelp = `Exit codes:
   0  all recipients accepted
  64  usage: a flag, an address, a URL or a file of the message is wrong
  65  the message was refused for good, or cannot be sent
  67  every recipient was refused for good
  68  some recipients were accepted, some not (--json says which may be tried again)
  69  the host is gone: no such name, no connection, unwilling, or lost on the way
  74  the output could not be written; the mail may be on its way all the same
  75  nobody accepted, and at least one may be tried again: a 4xx, a time-out,
      or an interrupt
  76  the protocol was broken by the other side
  77  authentication or TLS was refused, or is not to be trusted
  78  configuration: a CA or password file cannot be used`

var exits = map[mailclient.Outcome]int{
	mailclient.Accepted:          exitOK,
	mailclient.Misused:           exitUsage,
	mailclient.MessageRefused:    exitMessage,
	mailclient.RecipientsRefused: exitRecipients,
	mailclient.Partial:           exitPartial,
	mailclient.HostGone:          exitGone,
	mailclient.TryAgain:          exitAgain,
	mailclient.ProtocolBroken:    exitProtocol,
	mailclient.Denied:            exitDenied,
}

// configError marks what is wrong with a file of the caller's set-up.
type configError struct{ err error }

func (e configError) Error() string { return e.err.Error() }
func (e configError) Unwrap() error { return e.err }

// outputError marks that the results could not be handed over.
type outputError struct{ err error }

func (e outputError) Error() string { return e.err.Error() }
func (e outputError) Unwrap() error { return e.err }

// exitCode turns an error into the one code that fits. What is not sorted came
// from the command line or from a file that it names.
func exitCode(err error) int {
	failure := (*mailclient.Failure)(nil)
	config, output := configError{}, outputError{}
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failure):
		return exits[failure.Outcome]
	case errors.As(err, &config):
		return exitConfig
	case errors.As(err, &output):
		return exitOutput
	case errors.Is(err, mailclient.ErrUnsendable):
		return exitMessage
	}
	return exitUsage
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "mailclient",
		Short:         "Send, trace, compare and read mail",
		Long:          "mailclient sends mail by SMTP or LMTP, shows every line of it with its time and\nmeaning, sets SMTP beside HTTP, and reads mail back from smtpd.\n\n" + exitHelp,
		Args:          command,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(flagError)
	s := streams{in: stdin, out: stdout, err: stderr}
	root.AddCommand(sendCommand(s), traceCommand(s), contrastCommand(s), readCommand(s))
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), wire.Printable(err.Error()))
	}
	return exitCode(err)
}

// written marks the error of writing results.
func written(err error) error {
	if err == nil {
		return nil
	}
	return outputError{fmt.Errorf("write output: %w", err)}
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// interruptible ends ctx at an interrupt. It is asked for once the input has
// been read: until then an interrupt ends the program as it always does.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}
