package store

import (
	"fmt"
	"os"
)

// SetDisk puts functions of the test's before those that make files durable.
// An error of theirs is a failure of the disk.
func (s *Store) SetDisk(sync func(name string) error, syncDir func(dir string) error) {
	s.disk = disk{
		sync: func(f *os.File) error {
			if err := sync(f.Name()); err != nil {
				return err
			}
			return realDisk.sync(f)
		},
		syncDir: func(dir string) error {
			if err := syncDir(dir); err != nil {
				return err
			}
			return realDisk.syncDir(dir)
		},
	}
}

// SetMaxPages bounds the database, so that a test can fill it.
func (s *Store) SetMaxPages(n int) error {
	_, err := s.wdb.Exec(fmt.Sprintf("PRAGMA max_page_count(%d)", n))
	return err
}

// SetVersion makes the schema of an open store look like another one's.
func (s *Store) SetVersion(n int64) error {
	_, err := s.wdb.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)`, n)
	return err
}

// Pragma reads a setting of the connection that commits.
func (s *Store) Pragma(name string) (value string, err error) {
	err = s.wdb.QueryRow("PRAGMA " + name).Scan(&value)
	return value, err
}
