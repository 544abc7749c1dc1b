package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postern.example/smtpd"
)

// userCommand is smtpd user: the users of AUTH, in their file. What it is asked
// for goes to stdout, all else to stderr. A password comes from a file, from
// stdin, or, where stdin is a terminal, from whoever sits there.
func userCommand(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	u := &userTool{stdin: stdin, stdout: stdout, stderr: stderr}
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, change, remove and list the users of AUTH",
		Long: `user keeps the users that may authenticate in a file, a line name:hash for each,
where hash is argon2id for those that are set here, and may be bcrypt. A running
smtpd reads the file again on SIGHUP.

The password is the content of --password-file, or one line on standard input,
or is asked for, twice and without being shown, where that is a terminal.

Exit: 0 done, 1 the environment failed (file or folder not writable), 2 bad
usage (a name that is taken or not there, a file with faults or that others may
read or write).`,
		Example: "  smtpd user add ann --users users\n" +
			"  smtpd user passwd ann --users users --password-file new\n" +
			"  smtpd user list --users users",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("user: one of add, passwd, remove and list is expected")
		},
	}
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.PersistentFlags().StringVar(&u.file, "users", os.Getenv("SMTPD_USERS"), "the `FILE` of users (also SMTPD_USERS)")
	cmd.AddCommand(
		u.withPassword("add NAME", "Add a user; makes the file where there is none", "added", smtpd.AddUser),
		u.withPassword("passwd NAME", "Change a user's password", "changed", smtpd.SetPassword),
		u.command("remove NAME", "Remove a user", cobra.ExactArgs(1), func(args []string) error {
			if err := smtpd.RemoveUser(u.file, args[0]); err != nil {
				return err
			}
			return u.say("removed", args[0])
		}),
		u.command("list", "Print the names, one a line", cobra.NoArgs, func([]string) error {
			users, err := smtpd.LoadUsers(u.file)
			if err != nil {
				return err
			}
			for _, name := range users.Names() {
				if _, err := fmt.Fprintln(stdout, name); err != nil {
					return environmentError{fmt.Errorf("print users: %w", err)}
				}
			}
			return nil
		}),
	)
	return cmd
}

// userTool is what the commands of the group share.
type userTool struct {
	file           string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (u *userTool) command(use, short string, args cobra.PositionalArgs, run func(args []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(_ *cobra.Command, args []string) error {
			if u.file == "" {
				return errors.New("user: no file is named: --users FILE")
			}
			return byCause(run(args))
		},
	}
}

func (u *userTool) withPassword(use, short, done string, set func(file, name, password string) error) *cobra.Command {
	var passwordFile string
	cmd := u.command(use, short, cobra.ExactArgs(1), func(args []string) error {
		if err := smtpd.CheckUserName(args[0]); err != nil {
			return err // before anybody types a password
		}
		password, err := u.password(passwordFile)
		if err != nil {
			return err
		}
		if err := set(u.file, args[0], password); err != nil {
			return err
		}
		return u.say(done, args[0])
	})
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "read the password from `FILE`, which holds nothing else")
	return cmd
}

func (u *userTool) say(done, name string) error {
	_, err := fmt.Fprintf(u.stderr, "%s %s; a running smtpd takes notice on SIGHUP\n", done, name)
	if err != nil {
		return environmentError{err}
	}
	return nil
}

// byCause marks what failed in the environment. A file that is not there is the
// user's wording.
func byCause(err error) error {
	var env environmentError
	if err == nil || errors.As(err, &env) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var path *fs.PathError
	var link *os.LinkError
	var call *os.SyscallError
	if errors.As(err, &path) || errors.As(err, &link) || errors.As(err, &call) {
		return environmentError{err}
	}
	return err
}

// maxPasswordInput is more than any password has, so that one that is too long
// is told so.
const maxPasswordInput = 8 << 10

// password is what the user is to have, from wherever it comes.
func (u *userTool) password(file string) (string, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		defer f.Close()
		return readPassword(f, file)
	}
	if f, ok := u.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return u.askPassword(f)
	}
	if u.stdin == nil {
		return "", errors.New("read password: there is no standard input: --password-file FILE")
	}
	return readPassword(u.stdin, "standard input")
}

// readPassword takes one line, with its end or without, and no more.
func readPassword(r io.Reader, from string) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPasswordInput+1))
	if err != nil {
		return "", environmentError{fmt.Errorf("read password: %w", err)}
	}
	data, _ = bytes.CutSuffix(data, []byte("\n"))
	data, _ = bytes.CutSuffix(data, []byte("\r"))
	switch {
	case len(data) > maxPasswordInput:
		return "", fmt.Errorf("read password: %s holds more than a password", from)
	case len(data) == 0:
		return "", fmt.Errorf("read password: %s holds none", from)
	case bytes.ContainsAny(data, "\r\n"):
		return "", fmt.Errorf("read password: %s holds more than one line", from)
	}
	return string(data), nil
}

// askPassword asks twice and shows nothing. The terminal hands on each key as it
// is, so that ^C ends the question here and leaves the terminal as it was.
func (u *userTool) askPassword(f *os.File) (string, error) {
	before, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return "", environmentError{fmt.Errorf("read password: %w", err)}
	}
	defer term.Restore(int(f.Fd()), before)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{f, u.stderr}, "")
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		typed[i], err = t.ReadPassword(prompt)
		switch {
		case errors.Is(err, io.EOF):
			return "", errors.New("read password: given up")
		case err != nil:
			return "", environmentError{fmt.Errorf("read password: %w", err)}
		case strings.TrimSpace(typed[i]) == "":
			return "", errors.New("read password: there is none")
		}
	}
	if typed[0] != typed[1] {
		return "", errors.New("read password: the two differ")
	}
	return typed[0], nil
}
