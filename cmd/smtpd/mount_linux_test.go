package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// mountSmall mounts a small file system in memory on dir, until the test ends.
func mountSmall(t *testing.T, dir, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root, to mount a small disk")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		missing(t, "the right to mount a small disk ("+err.Error()+")")
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

func remount(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
}
