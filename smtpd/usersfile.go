package smtpd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// AddUser adds a user to a file, which it makes (mode 0600) where there is none,
// and hashes the password with argon2id. ErrUserExists says that the name is
// taken.
//
// This and the two functions below keep the rest of the file as it is, comments
// and order included, and its mode, and its owner on Unix. They exchange it as a
// whole: at every moment, a crash included, it is the old file or the new one.
// Two that work on one folder wait for each other, on Unix.
func AddUser(file, name, password string) error {
	text, err := userText(name, password)
	if err != nil {
		return fmt.Errorf("add user: %w", err)
	}
	return editUsers(file, true, func(lines []userLine) ([]userLine, error) {
		if userIndex(lines, name) >= 0 {
			return nil, fmt.Errorf("add user %+q: %w", name, ErrUserExists)
		}
		return append(lines, userLine{text: text}), nil
	})
}

// SetPassword changes a user's password in a file. ErrNoUser says that there is
// no such user. See AddUser.
func SetPassword(file, name, password string) error {
	text, err := userText(name, password)
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	return editUsers(file, false, func(lines []userLine) ([]userLine, error) {
		i := userIndex(lines, name)
		if i < 0 {
			return nil, fmt.Errorf("change password of %+q: %w", name, ErrNoUser)
		}
		lines[i].text = text
		return lines, nil
	})
}

// RemoveUser takes a user out of a file. ErrNoUser says that there is no such
// user. See AddUser.
func RemoveUser(file, name string) error {
	return editUsers(file, false, func(lines []userLine) ([]userLine, error) {
		i := userIndex(lines, name)
		if i < 0 || name == "" {
			return nil, fmt.Errorf("remove user %+q: %w", name, ErrNoUser)
		}
		return slices.Delete(lines, i, i+1), nil
	})
}

func userText(name, password string) (string, error) {
	if err := CheckUserName(name); err != nil {
		return "", err
	}
	prepared, err := preparePassword(password)
	if err != nil {
		return "", err
	}
	return name + ":" + newHash(prepared), nil
}

func userIndex(lines []userLine, name string) int {
	return slices.IndexFunc(lines, func(l userLine) bool { return l.name == name })
}

// editUsers reads a file, changes its lines and exchanges it, all under a lock.
func editUsers(file string, create bool, change func([]userLine) ([]userLine, error)) (err error) {
	path, err := realPath(file)
	if create && errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(file); lerr == nil {
			return fmt.Errorf("write users: %s leads nowhere", file) // a dangling link
		}
		path, err = file, nil
	}
	if err != nil {
		return fmt.Errorf("read users: %w", err)
	}
	dir := filepath.Dir(path)
	unlock, err := lockFolder(dir)
	if err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()

	_, data, err := readUsers(path)
	var old fs.FileInfo
	switch {
	case create && errors.Is(err, fs.ErrNotExist):
		if err := trustFolder(dir); err != nil {
			return fmt.Errorf("write users: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read users: %w", err)
	default:
		if old, err = os.Stat(path); err != nil {
			return fmt.Errorf("read users: %w", err)
		}
	}
	lines, err := parseUsers(file, data)
	if err != nil {
		return err
	}
	if lines, err = change(lines); err != nil {
		return err
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	if b.Len() > maxUsersFile {
		return fmt.Errorf("write users: %s would be longer than %d MiB", file, maxUsersFile>>20)
	}
	if err := exchangeFile(path, old, b.String()); err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	return nil
}

// exchangeFile puts a new file in the place of old, which is nil where there was
// none, and returns when that is durable.
func exchangeFile(path string, old fs.FileInfo, text string) (err error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+name+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	if err == nil && old != nil {
		err = likeOld(f, old)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}
