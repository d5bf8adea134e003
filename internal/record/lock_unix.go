//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package record

import (
	"os"
	"syscall"
)

// lock takes the file for this process until it is closed or the process ends, however
// that ends. It fails if another has it.
func lock(file *os.File) error {
	return os.NewSyscallError("flock", syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
}
