//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package app

import (
	"io"
	"os"
)

// lockFile knows no lock that ends with the process on this system: two gateways on
// one data_dir write over each other.
func lockFile(path string) (io.Closer, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // in the operator's data_dir
}
