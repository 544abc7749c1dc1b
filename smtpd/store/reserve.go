package store

import (
	"errors"
	"os"
)

// reserveSize is what is held back on the disk, so that messages can be deleted
// when it is full: SQLite writes before it frees.
const reserveSize = 1 << 20

func (s *Store) reservePath() string { return s.path + ".reserve" }

// holdReserve makes the file that holds space back. Where there is none to hold,
// the store works without.
func (s *Store) holdReserve() {
	if st, err := os.Stat(s.reservePath()); err == nil && st.Size() >= reserveSize {
		return
	}
	f, err := os.OpenFile(s.reservePath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	_, err = f.Write(make([]byte, reserveSize))
	if errors.Join(err, f.Sync(), f.Close()) != nil {
		os.Remove(s.reservePath())
	}
}

// withReserve does a deletion, with the reserve let go when there is no room for
// it. What it frees goes back to the disk before the reserve is held again.
func (s *Store) withReserve(do func() (int64, error)) (int64, error) {
	n, err := do()
	if !errors.Is(err, ErrFull) {
		return n, err
	}
	s.reserve.Lock()
	defer s.reserve.Unlock()
	os.Remove(s.reservePath())
	if n, err = do(); err == nil && n > 0 {
		for _, pragma := range []string{"wal_checkpoint(TRUNCATE)", "incremental_vacuum", "wal_checkpoint(TRUNCATE)"} {
			if _, err := s.wdb.Exec("PRAGMA " + pragma); err != nil {
				break // the deletion is done all the same
			}
		}
	}
	s.holdReserve()
	return n, err
}
