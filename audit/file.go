package audit

import (
	"errors"
	"fmt"
	"io"
	"os"

	"postern.example/audit/record"
)

// Load reads the inventory in the file at path. An inventory says what may be
// contacted, so who may write it may aim the audit: on Unix, symlinks are
// resolved, and a file that everyone may write is refused, and so is one on
// whose way lies a folder that everyone may write and that has no sticky bit.
// The error is an [*InventoryError] where the file was read and is wrong.
func Load(path string) (*Inventory, error) {
	data, err := readTrusted(path)
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	return Parse(path, data)
}

func readTrusted(path string) ([]byte, error) {
	real, err := trustedPath(path)
	if err != nil {
		return nil, err
	}
	// Look before opening: to open a named pipe is to wait for its writer.
	if err := mustBeFile(os.Stat(real)); err != nil {
		return nil, err
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opened, err := f.Stat()
	if err := mustBeFile(opened, err); err != nil {
		return nil, err
	}
	if err := trustedMode(opened); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", record.Clean(path), maxFile>>20)
	}
	return data, nil
}

func mustBeFile(info os.FileInfo, err error) error {
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New(record.Clean(info.Name()) + " is not a regular file")
	}
	return err
}
