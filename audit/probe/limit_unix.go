//go:build unix

package probe

import "golang.org/x/sys/unix"

// The descriptors that are left for everything but probes, and the number that
// one attempt holds: its socket, and on Linux a second one for the error queue.
const (
	reservedFiles = 64
	filesPerProbe = 2
)

// maxOpen is how many attempts the descriptor limit allows at once. The Go
// runtime has raised the soft limit to the hard one at start.
func maxOpen() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return defaultInFlight / 4
	}
	files := min(uint64(l.Cur), 1<<20)
	if files <= reservedFiles {
		return 1
	}
	return max(1, int(files-reservedFiles)/filesPerProbe)
}
