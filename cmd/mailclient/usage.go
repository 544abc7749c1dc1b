package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// noArguments holds a command to its flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("takes no arguments, only flags: %q is none", args[0])
	}
	return nil
}

// command holds the program to the commands that it has. One that was found
// does not come here.
func command(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := root.SuggestionsFor(args[0]); len(near) > 0 && args[0] != "" {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q: see %s --help", args[0], root.Name())
}

// flagError finds the fault before the flag: the program itself has none but
// --help, so that with a misspelt command every flag of it is unknown.
func flagError(c *cobra.Command, err error) error {
	if c.HasParent() || errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if wrong := command(c, c.Flags().Args()); wrong != nil {
		return wrong
	}
	return fmt.Errorf("%w: a command stands first, see %s --help", err, c.Name())
}

// exclusive says that of two flags one may be set. cobra's mark keeps the other
// out of completion; its words about it name groups that no user knows of, so
// that the check here comes first.
func exclusive(c *cobra.Command, a, b string) {
	c.MarkFlagsMutuallyExclusive(a, b)
	before(c, func(fs *pflag.FlagSet) error {
		if fs.Changed(a) && fs.Changed(b) {
			return fmt.Errorf("--%s and --%s exclude each other", a, b)
		}
		return nil
	})
}

// together says that two flags are set both or neither, as exclusive does.
func together(c *cobra.Command, a, b string) {
	c.MarkFlagsRequiredTogether(a, b)
	before(c, func(fs *pflag.FlagSet) error {
		switch {
		case fs.Changed(a) && !fs.Changed(b):
			return fmt.Errorf("--%s needs --%s beside it", a, b)
		case fs.Changed(b) && !fs.Changed(a):
			return fmt.Errorf("--%s needs --%s beside it", b, a)
		}
		return nil
	})
}

// before adds a check to those that run before the command does.
func before(c *cobra.Command, check func(*pflag.FlagSet) error) {
	earlier := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if earlier != nil {
			if err := earlier(c, args); err != nil {
				return err
			}
		}
		return check(c.Flags())
	}
}
