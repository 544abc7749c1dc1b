package store

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrFull: there is no room. Nothing was kept; trying again later may work.
	ErrFull = errors.New("store: no room left")
	// ErrNotFound: there is no such message.
	ErrNotFound = errors.New("store: no such message")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// engineError names the step that failed and adds ErrFull where that is what
// the operating system or the database meant.
func engineError(step string, err error) error {
	if err == nil {
		return nil
	}
	if isFull(err) {
		return fmt.Errorf("%s: %w: %w", step, ErrFull, err)
	}
	return fmt.Errorf("%s: %w", step, err)
}

func isFull(err error) bool {
	var se *sqlite.Error
	if errors.As(err, &se) {
		// An extended code carries its primary code in the low byte. SQLite
		// maps ENOSPC of a write to FULL, but a WAL index that cannot grow
		// (SHMSIZE) and a file past the process's limit come as IOERR.
		return se.Code()&0xff == sqlite3.SQLITE_FULL || se.Code() == sqlite3.SQLITE_IOERR_SHMSIZE
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota)
}
