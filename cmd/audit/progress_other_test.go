//go:build !linux

package main_test

import "testing"

func TestProgress(t *testing.T) {
	t.Skip("needs Linux: how a pseudo-terminal is opened differs from system to system")
}
