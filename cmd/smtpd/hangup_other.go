//go:build !unix

package main

import "log/slog"

// ignoreHangup has nothing to do where there is no SIGHUP.
func ignoreHangup(*slog.Logger) (stop func()) { return func() {} }
