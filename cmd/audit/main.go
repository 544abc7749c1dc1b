// Command audit finds what listens on one's own hosts and should not.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Whoever reads standard output may leave early, as head does. That is an
	// error of one write, and no reason to die before the files are written.
	signal.Ignore(syscall.SIGPIPE)
	// The first signal ends the run and lets it report what it has; the second
	// is the system's and ends the program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
