package smtpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// Users are the names that may authenticate, with the hashes of their
// passwords. They do not change: to reload is to load new ones and to exchange
// the pointer. The zero value and nil have no users. All methods are safe for
// concurrent use.
type Users struct {
	hashes map[string]passwordHash
	names  []string // sorted
	seed   maphash.Seed
	slots  chan struct{} // bound what is hashed at once
}

// Errors of Users and of the functions that change their file.
var (
	// ErrCredentials says that a name and a password do not belong together, and
	// not which of them is wrong.
	ErrCredentials = errors.New("wrong user or password")
	// ErrBusy says that too many passwords are being checked, so that this one was
	// not.
	ErrBusy = errors.New("too many passwords are being checked")
	// ErrUserExists says that a name is taken.
	ErrUserExists = errors.New("the user exists already")
	// ErrNoUser says that there is no such name.
	ErrNoUser = errors.New("there is no such user")
)

const (
	maxUsersFile  = 4 << 20
	maxUserFaults = 50 // told of one file
	maxUserName   = 255
	maxPassword   = 1024
	maxHashers    = 4
)

// LoadUsers reads a file of users: name:hash a line, empty lines and lines that
// begin with # are nothing. A hash is bcrypt ($2a$, $2b$, $2y$; cost at most 15)
// or argon2id ($argon2id$v=19$m=..,t=..,p=..$salt$sum; m at most 131072 KiB, t at
// most 16, p at most 16, m times t at most 1 GiB).
//
// A name has at most 255 bytes and is UTF-8 in the form of RFC 8265, section
// 3.4 (UsernameCasePreserved): no spaces, no control characters, composed
// characters, right-to-left and left-to-right not mixed. It does not begin with
// # and holds no colon. Upper and lower case differ.
//
// On Unix, symlinks are resolved, and a file is refused that its group or
// everyone may write or that everyone may read, or that belongs to somebody who
// is neither root nor this process's user (unless that is root); so is one in a
// folder that everyone may write and that has no sticky bit.
//
// The error names every fault, up to 50, as file:line, and never repeats a hash.
func LoadUsers(file string) (*Users, error) {
	_, data, err := readUsers(file)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	lines, err := parseUsers(file, data)
	if err != nil {
		return nil, err
	}
	u := &Users{
		hashes: map[string]passwordHash{},
		seed:   maphash.MakeSeed(),
		slots:  make(chan struct{}, max(1, min(runtime.GOMAXPROCS(0)/2, maxHashers))),
	}
	for _, l := range lines {
		if l.name != "" {
			u.hashes[l.name] = l.hash
			u.names = append(u.names, l.name)
		}
	}
	slices.Sort(u.names)
	return u, nil
}

// Verify tells whether name may authenticate with password. See Check.
func (u *Users) Verify(name, password string) bool {
	return u.Check(context.Background(), name, password) == nil
}

// Check returns nil when name may authenticate with password, ErrCredentials
// when not, and ErrBusy when ctx ended before it could tell: at most half of the
// processors, and never more than four, hash at once, whatever the clients do.
//
// The time that it takes does not tell whether the name exists: for one that
// does not, it does the work that one of the existing names would need, always
// the same one for the same name.
//
// The name is brought into the form of RFC 8265, section 3.4, if it is not in it.
// A password is prepared as RFC 8265, section 4.2 (OpaqueString) says: spaces of
// all kinds are the ASCII space, characters are composed. It has at most 1024
// bytes. Bcrypt looks at the first 72 of them only.
func (u *Users) Check(ctx context.Context, name, password string) error {
	if u == nil || u.slots == nil {
		return ErrCredentials
	}
	password, err := preparePassword(password)
	if err != nil {
		return ErrCredentials // whatever the name is
	}
	if prepared, err := precis.UsernameCasePreserved.String(name[:min(len(name), maxUserName+1)]); err == nil {
		name = prepared
	}
	h, known := u.workFor(name)
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	if right := h.matches(password); !known || !right {
		return ErrCredentials
	}
	return nil
}

// workFor is the hash to compare with, and whether it is the name's own.
func (u *Users) workFor(name string) (passwordHash, bool) {
	if h, ok := u.hashes[name]; ok {
		return h, true
	}
	if len(u.names) == 0 {
		return passwordHash{argon: standardArgon, salt: make([]byte, saltBytes), sum: make([]byte, sumBytes)}, false
	}
	i := maphash.String(u.seed, name) % uint64(len(u.names))
	return u.hashes[u.names[i]], false
}

// Names are all of them, sorted. The slice is the caller's.
func (u *Users) Names() []string {
	if u == nil {
		return nil
	}
	return slices.Clone(u.names)
}

// CheckUserName says what is wrong with a name, as LoadUsers wants it.
func CheckUserName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxUserName:
		return fmt.Errorf("the name is longer than %d bytes", maxUserName)
	case strings.Contains(name, ":"):
		return fmt.Errorf("the name %+q holds a colon", name)
	case name[0] == '#':
		return fmt.Errorf("the name %+q begins like a comment", name)
	}
	prepared, err := precis.UsernameCasePreserved.String(name)
	switch {
	case err != nil || !utf8.ValidString(name):
		return fmt.Errorf("the name %+q holds a space, a control character or what else RFC 8265 forbids", name)
	case prepared != name:
		return fmt.Errorf("the name %+q is to be written %+q (RFC 8265)", name, prepared)
	}
	return nil
}

// preparePassword is what is hashed for a password.
func preparePassword(password string) (string, error) {
	if len(password) > maxPassword {
		return "", fmt.Errorf("the password is longer than %d bytes", maxPassword)
	}
	prepared, err := precis.OpaqueString.String(password)
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case err != nil || !utf8.ValidString(password):
		return "", errors.New("the password is not UTF-8 or holds a control character or what else RFC 8265 forbids")
	case len(prepared) > maxPassword:
		return "", fmt.Errorf("the password is longer than %d bytes", maxPassword)
	}
	return prepared, nil
}

// userLine is one line of a file of users. The name is empty where there is
// none.
type userLine struct {
	text string // without its end
	name string
	hash passwordHash
}

func parseUsers(file string, data []byte) ([]userLine, error) {
	var lines []userLine
	var errs []error
	faults, first := 0, map[string]int{}
	for raw := range bytes.Lines(data) {
		l := userLine{text: strings.TrimRight(string(raw), " \t\r\n")}
		if err := l.parse(); err != nil {
			if faults++; faults <= maxUserFaults {
				errs = append(errs, fmt.Errorf("%s:%d: %w", file, len(lines)+1, err))
			}
		} else if n, twice := first[l.name]; twice && l.name != "" {
			if faults++; faults <= maxUserFaults {
				errs = append(errs, fmt.Errorf("%s:%d: the name %+q stands in line %d already", file, len(lines)+1, l.name, n))
			}
		}
		lines = append(lines, l)
		if _, twice := first[l.name]; !twice {
			first[l.name] = len(lines)
		}
	}
	if faults > maxUserFaults {
		errs = append(errs, fmt.Errorf("%s: %d more faults", file, faults-maxUserFaults))
	}
	return lines, errors.Join(errs...)
}

func (l *userLine) parse() error {
	text := strings.TrimLeft(l.text, " \t")
	if text == "" || text[0] == '#' {
		return nil
	}
	name, hash, ok := strings.Cut(l.text, ":")
	if !ok {
		return errors.New("name:hash is expected") // without the text, which may be a secret
	}
	if err := CheckUserName(name); err != nil {
		return err
	}
	h, err := parseHash(hash)
	if err != nil {
		return fmt.Errorf("the hash of %+q: %w", name, err)
	}
	l.name, l.hash = name, h
	return nil
}

// readUsers returns the real path of a file of users and what it holds.
func readUsers(file string) (string, []byte, error) {
	path, err := realPath(file)
	if err != nil {
		return "", nil, err
	}
	if err := trustFolder(filepath.Dir(path)); err != nil {
		return "", nil, err
	}
	// Look before opening: to open a named pipe is to wait for its writer.
	if err := mustBeRegular(os.Stat(path)); err != nil {
		return "", nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err := mustBeRegular(info, err); err != nil {
		return "", nil, err
	}
	if err := trustUsers(path, info); err != nil {
		return "", nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	if err != nil {
		return "", nil, err
	}
	if len(data) > maxUsersFile {
		return "", nil, fmt.Errorf("%s is longer than %d MiB", path, maxUsersFile>>20)
	}
	return path, data, nil
}

// realPath follows symlinks. Its errors name the file.
func realPath(file string) (string, error) {
	path, err := filepath.EvalSymlinks(file)
	var named *fs.PathError
	if err != nil && !errors.As(err, &named) {
		err = &fs.PathError{Op: "open", Path: file, Err: err}
	}
	return path, err
}

func mustBeRegular(info os.FileInfo, err error) error {
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", info.Name())
	}
	return err
}
