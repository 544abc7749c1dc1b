//go:build unix

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// onHangup calls reload for each SIGHUP, until stop is called.
func onHangup(reload func()) (stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range c {
			reload()
		}
	})
	return func() {
		signal.Stop(c)
		close(c)
		wg.Wait()
	}
}
