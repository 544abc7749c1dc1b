package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"postern.example/audit/record"
	"postern.example/audit/report"
)

// output is a file that a report goes to.
type output struct {
	path   string // as it was given
	real   string // behind symlinks
	format report.Format
	mode   os.FileMode
	sync   func(*os.File) error // makes what was written last
}

// planOutputs checks, before anything is contacted, that every report can be
// written: a scan of an hour should not end at a typing mistake.
func planOutputs(paths []string, inventory string) ([]output, error) {
	var out []output
	seen := make(map[string]bool)
	for _, path := range paths {
		o, err := planOutput(path, inventory)
		if err != nil {
			return nil, fmt.Errorf("--output %s: %w", record.Clean(path), err)
		}
		if seen[o.real] {
			return nil, fmt.Errorf("--output %s: it stands twice", record.Clean(path))
		}
		seen[o.real] = true
		out = append(out, o)
	}
	return out, nil
}

func planOutput(path, inventory string) (output, error) {
	format, err := report.FormatOf(path)
	if err != nil {
		return output{}, err
	}
	real, err := filepath.Abs(path)
	if err != nil {
		return output{}, err
	}
	// A list of doors that should not be open is for its reader alone.
	o := output{path: path, real: real, format: format, mode: 0o600, sync: (*os.File).Sync}
	if behind, err := filepath.EvalSymlinks(real); err == nil {
		o.real = behind
	}
	// What else a Stat may say, the attempt to write says more plainly.
	if info, err := os.Stat(o.real); err == nil {
		if !info.Mode().IsRegular() {
			return o, errors.New("it is not a regular file")
		}
		o.mode = info.Mode().Perm()
		if i, err := os.Stat(inventory); err == nil && os.SameFile(i, info) {
			return o, errors.New("it is the inventory")
		}
	}
	f, err := o.temp()
	if err != nil {
		return o, err
	}
	f.Close()
	return o, os.Remove(f.Name())
}

// temp creates an empty file beside the real one. Its name means nothing to the
// user, so an error is about the folder.
func (o output) temp() (*os.File, error) {
	folder := filepath.Dir(o.real)
	name := filepath.Join(folder, "."+filepath.Base(o.real)+"."+rand.Text()[:10])
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, o.mode)
	if err != nil {
		return nil, folderError(folder, err)
	}
	return f, nil
}

// folderError says why no file could be created in folder; err is what the
// system said.
func folderError(folder string, err error) error {
	for up := folder; ; up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a folder", record.Clean(up))
		}
		if err == nil || up == filepath.Dir(up) {
			break
		}
	}
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the folder %s does not exist", record.Clean(folder))
	}
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("the folder %s is not writable: %w", record.Clean(folder), err)
	}
	return fmt.Errorf("create a file in the folder %s: %w", record.Clean(folder), err)
}

// write writes the report whole or not at all: a reader, or a crash, sees the
// old file or the new one.
func (o output) write(result record.Run, opts report.Options) error {
	if err := o.replace(result, opts); err != nil {
		return fmt.Errorf("write %s: %w", record.Clean(o.path), err)
	}
	return nil
}

func (o output) replace(result record.Run, opts report.Options) (err error) {
	f, err := o.temp()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// What failed first is what counts; this only clears up after it.
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := report.Write(f, o.format, result, opts); err != nil {
		return err
	}
	// The umask had its say when the file was made.
	if err := f.Chmod(o.mode); err != nil {
		return err
	}
	if err := o.sync(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), o.real); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(o.real))
}

// isTerminal reports whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
