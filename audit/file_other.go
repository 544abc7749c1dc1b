//go:build !unix

package audit

import "os"

// Who may write a file is not in its mode bits here, so nothing is checked.
func trustedPath(path string) (string, error) { return path, nil }

func trustedMode(os.FileInfo) error { return nil }
