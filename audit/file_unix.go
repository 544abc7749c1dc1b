//go:build unix

package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	if info.IsDir() && info.Mode().Perm()&othersWrite != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("everyone may write the folder %s, and so exchange the inventory (chmod o-w)", record.Clean(path))
	}
	return nil
}

func trustedMode(info os.FileInfo) error {
	if info.Mode().Perm()&othersWrite != 0 {
		return fmt.Errorf("everyone may write %s, and so aim the audit (chmod o-w)", record.Clean(info.Name()))
	}
	return nil
}
