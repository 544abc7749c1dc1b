// Command smtpd is an SMTP server for test mail and small real sites. Started
// without flags it takes every mail on 127.0.0.1:2525, keeps it durably, and
// shows it on http://127.0.0.1:8025.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"postern.example/smtpd"
)

// Exit codes.
const (
	exitDrained     = 0
	exitEnvironment = 1
	exitUsage       = 2
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program, but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal does not wait for the drain.
	defer context.AfterFunc(ctx, stop)()
	cmd := command(stdout, stderr)
	cmd.AddCommand(userCommand(stdin, stdout, stderr))
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDrained
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(stderr, "smtpd: "+line)
	}
	var env environmentError
	if errors.As(err, &env) {
		return exitEnvironment
	}
	return exitUsage
}

// environmentError marks what is not the user's wording: a port in use, a
// folder that cannot be written.
type environmentError struct{ error }

func (e environmentError) Unwrap() error { return e.error }

func command(stdout, stderr io.Writer) *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:   "smtpd",
		Short: "An SMTP server that keeps what it accepts",
		Long: `smtpd takes every mail that is sent to it, keeps it on disk before it says 250,
and lets you read it back. In capture mode, the default, it sends nothing on.

Every flag can be set by a variable (--max-size by SMTPD_MAX_SIZE; values of a
flag that may stand several times are separated by commas) and in the file that
--config names. Flags go over variables, variables over the file.

SIGTERM and SIGINT drain: idle clients get 421, transactions under way have a
few seconds to end; a second signal does not wait. SIGHUP reloads certificate,
users and lists, and ends nothing.

Loopback clients are exempt from caps, rates, greet pause and bans, unless
--strict-loopback; clients of private networks may do twenty times what others
may. A limit is switched off by the word off.

Exit: 0 drained, 1 the environment failed (port in use, folder not writable,
store gone), 2 bad usage or configuration (every fault is named).`,
		Example:       "  smtpd\n  smtpd --smtp 127.0.0.1:0 --ephemeral",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := configure(cmd, configFile)
			if err != nil {
				return err
			}
			cfg.Log = logger(stderr, cfg.LogFormat)
			warnUnknownVariables(cfg.Log)
			cfg.Ready = func(b smtpd.Bound) {
				welcome(stdout, b, cfg)
				notify(cfg.Log, daemon.SdNotifyReady)
			}
			return serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	for _, s := range smtpd.Settings() {
		switch {
		case s.Switch:
			f.Bool(s.Name, false, s.Usage)
		case s.Many:
			f.StringArray(s.Name, nil, s.Usage)
		default:
			f.String(s.Name, "", s.Usage)
		}
	}
	f.StringVar(&configFile, "config", os.Getenv("SMTPD_CONFIG"), "read settings from `FILE` (YAML)")
	return cmd
}

func variable(setting string) string {
	return "SMTPD_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// warnUnknownVariables names variables that look like ours and are not.
func warnUnknownVariables(log *slog.Logger) {
	known := map[string]bool{"SMTPD_CONFIG": true}
	for _, s := range smtpd.Settings() {
		known[variable(s.Name)] = true
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "SMTPD_") && !known[name] {
			log.Warn("unknown variable", "name", name)
		}
	}
}

// configure lays flags over variables over the file, and reports every fault of
// all three.
func configure(cmd *cobra.Command, file string) (smtpd.Config, error) {
	var cfg smtpd.Config
	var errs []error
	if file != "" {
		errs = append(errs, cfg.Load(file))
	}
	for _, s := range smtpd.Settings() {
		name := variable(s.Name)
		// Empty is how a variable is unset where one cannot unset it; for http
		// it means off.
		if v, ok := os.LookupEnv(name); ok && (v != "" || s.Name == "http") {
			values := []string{v}
			if s.Many {
				values = strings.Split(v, ",")
			}
			if err := cfg.Set(s.Name, values...); err != nil {
				errs = append(errs, fmt.Errorf("variable %s: %w", name, err))
			}
		}
	}
	for _, s := range smtpd.Settings() {
		flag := cmd.Flags().Lookup(s.Name)
		if !flag.Changed {
			continue
		}
		values := []string{flag.Value.String()}
		if s.Many {
			values = flag.Value.(pflag.SliceValue).GetSlice()
		}
		if err := cfg.Set(s.Name, values...); err != nil {
			errs = append(errs, fmt.Errorf("flag --%s: %w", s.Name, err))
		}
	}
	errs = append(errs, cfg.Validate())
	return cfg, errors.Join(errs...)
}

func logger(w io.Writer, format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(tint.NewTextHandler(w, &tint.Options{TimeFormat: "15:04:05.000"}))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func serve(ctx context.Context, cfg smtpd.Config) error {
	srv, err := smtpd.New(cfg)
	if err != nil {
		return err
	}
	defer onHangup(func() { srv.Reload() })()
	stopping := context.AfterFunc(ctx, func() { notify(cfg.Log, daemon.SdNotifyStopping) })
	defer stopping()
	if err := srv.Run(ctx); err != nil {
		return environmentError{err}
	}
	return nil
}

// notify tells systemd, when smtpd runs under it.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("sd_notify", "cause", err)
	}
}
