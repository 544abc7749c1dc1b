//go:build !unix

package main

// onHangup has nothing to do where there is no SIGHUP.
func onHangup(func()) (stop func()) { return func() {} }
