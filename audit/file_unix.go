//go:build unix

package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postern.example/audit/record"
)

const (
	othersWrite = 0o002
	maxLinks    = 40 // as the kernel's own limit
)

// trustedPath follows path as the kernel would, looks at every folder on the way,
// those behind symlinks included, and returns where it ends.
func trustedPath(path string) (string, error) {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		// Not filepath.Join: "link/.." is the parent of where link leads.
		path = wd + "/" + path
	}
	here, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			here = filepath.Dir(here)
			continue
		}
		if err := trustedFolder(here); err != nil {
			return "", err
		}
		next := filepath.Join(here, part)
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			here = next
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("too many symlinks")
		}
		if err := trustedOwner("the symlink "+record.Clean(next), info); err != nil {
			return "", err
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			here = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return here, nil
}

func trustedFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := trustedOwner("the folder "+record.Clean(path), info); err != nil {
		return err
	}
	if info.IsDir() && info.Mode().Perm()&othersWrite != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("everyone may write the folder %s, and so exchange the inventory (chmod o-w)", record.Clean(path))
	}
	return nil
}

// trustedOwner refuses what belongs to a third: an owner may write, or give the
// right to, whatever the mode says now, and exchange what is in a sticky folder.
func trustedOwner(what string, info os.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("whom %s belongs to is not known", what)
	}
	if owner, caller := int(s.Uid), os.Geteuid(); owner != 0 && owner != caller {
		return fmt.Errorf("%s belongs to user %d, who may so aim the audit: it must be root's or that of the user who runs this, %d (chown)", what, owner, caller)
	}
	return nil
}

func trustedMode(info os.FileInfo) error {
	if err := trustedOwner(record.Clean(info.Name()), info); err != nil {
		return err
	}
	if info.Mode().Perm()&othersWrite != 0 {
		return fmt.Errorf("everyone may write %s, and so aim the audit (chmod o-w)", record.Clean(info.Name()))
	}
	return nil
}
