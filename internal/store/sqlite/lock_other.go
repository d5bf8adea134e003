//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sqlite

import (
	"io"
	"os"
)

// lockFile knows no lock that ends with the process on this system: the second gateway on
// one file takes what the first has open for lost.
func lockFile(path string) (io.Closer, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the operator's file
}

func writable(string) error { return nil }
