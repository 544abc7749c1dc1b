package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

var errInUse = errors.New("in use by another smtpd")

// readers is how many queries may run beside the writer.
const readers = 4

// Store is an open store. See the package's comment.
type Store struct {
	write   *writer
	wdb     *sql.DB
	rdb     *sql.DB
	lock    *os.File
	disk    disk
	path    string // of the database
	reserve sync.Mutex
	bodies  string        // folder of the bodies that are files
	count   atomic.Int64  // messages
	bytes   atomic.Int64  // of all messages
	news    chan struct{} // one slot: something was accepted since it was last emptied
}

// Open opens the store that rawURL names, and makes it where there is none:
// "sqlite:PATH". Beside PATH it keeps PATH.lock, PATH.reserve, the folder
// PATH.bodies and SQLite's own PATH-wal and PATH-shm; nothing else is touched. What a crash has
// left half done is cleared away.
func Open(ctx context.Context, rawURL string) (*Store, error) {
	path, err := sqlitePath(rawURL)
	if err != nil {
		return nil, err
	}
	s, err := openSQLite(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

// CheckURL tells what is wrong with the address of a store without opening it.
func CheckURL(rawURL string) error {
	_, err := sqlitePath(rawURL)
	return err
}

func sqlitePath(rawURL string) (string, error) {
	scheme, path, ok := strings.Cut(rawURL, ":")
	switch {
	case ok && scheme == "sqlite" && path != "" && path != ":memory:":
		return path, nil
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return "", errors.New("this version keeps mail in SQLite only (sqlite:PATH)")
	}
	return "", fmt.Errorf("%q is not sqlite:PATH", rawURL)
}

func openSQLite(ctx context.Context, path string) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &Store{disk: realDisk, path: path, bodies: path + ".bodies", news: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := makeDirs(s.bodies); err != nil {
		return nil, err
	}
	// Mail is private: neither lock nor database is readable by others, and
	// SQLite gives its WAL the mode of the database.
	if s.lock, err = os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := lockFile(s.lock); err != nil {
		return nil, err
	}
	db, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}

	if s.wdb, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return nil, err
	}
	s.wdb.SetMaxOpenConns(1)
	if err := migrate(ctx, s.wdb); err != nil {
		return nil, err
	}
	if s.rdb, err = sql.Open("sqlite", dsn(path, "_pragma=query_only(1)")); err != nil {
		return nil, err
	}
	s.rdb.SetMaxOpenConns(readers)
	s.rdb.SetMaxIdleConns(readers)

	var count, size int64
	err = s.rdb.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(size), 0) FROM messages`).Scan(&count, &size)
	if err != nil {
		return nil, err
	}
	s.count.Store(count)
	s.bytes.Store(size)
	if err := s.sweep(ctx); err != nil {
		return nil, err
	}
	s.holdReserve()
	s.write = startWriter(s.wdb)
	return s, nil
}

func dsn(path, more string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path // a Windows path: file:///C:/…
	}
	return u.String() + "?_pragma=busy_timeout(10000)&_pragma=auto_vacuum(incremental)" +
		"&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(1)&" + more
}

// makeDirs makes dir and what is missing above it, each durable in its parent.
func makeDirs(dir string) error {
	if st, err := os.Stat(dir); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, steps)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if have > want {
		return fmt.Errorf("its schema has version %d, this smtpd knows %d: use a newer smtpd", have, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close commits what waits and closes the store. It may be called more than once.
func (s *Store) Close() error {
	s.write.close()
	return s.release()
}

func (s *Store) release() error {
	var errs []error
	if s.rdb != nil {
		errs = append(errs, s.rdb.Close())
	}
	if s.wdb != nil {
		errs = append(errs, s.wdb.Close())
	}
	if s.lock != nil {
		if err := s.lock.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
