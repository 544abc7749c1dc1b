// Command tour shows all of Postern in half a minute, on loopback, with nothing
// to set up: it carries a mail and shows every line of it, sets SMTP beside
// HTTP, reads the mail back, finds a door that stands open, and mails the
// report. It ends by itself and leaves one folder behind.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// longest is how long the tour may take in all; it takes a second or two.
const longest = 30 * time.Second

const usage = `usage: tour
It takes no arguments, leaves one folder behind, which may be removed, and exits
0 when all of it worked, 1 otherwise.`

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if args[0] == "--help" || args[0] == "-h" {
			fmt.Fprintln(stdout, usage)
			return 0
		}
		fmt.Fprintln(stderr, usage)
		return 2
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := tour(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "tour:", err)
		return 1
	}
	return 0
}
