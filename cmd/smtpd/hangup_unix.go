//go:build unix

package main

import (
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// ignoreHangup keeps SIGHUP, the request to reload, from ending smtpd: this
// version has no list, user or certificate to reload, and says so. The function
// that it returns gives the signal back.
func ignoreHangup(log *slog.Logger) (stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range c {
			log.Info("hangup", "text", "nothing to reload in this version")
		}
	})
	return func() {
		signal.Stop(c)
		close(c)
		wg.Wait()
	}
}
