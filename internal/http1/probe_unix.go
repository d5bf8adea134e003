//go:build unix

package http1

import (
	"net"
	"syscall"
)

func (p *probe) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.peek = func(fd uintptr) bool {
		var b [1]byte
		for {
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			p.ok = err == syscall.EAGAIN
			return true
		}
	}
}

// silent says that there is nothing to read, not even the end.
func (p *probe) silent() bool {
	p.ok = false
	return p.raw.Read(p.peek) == nil && p.ok
}
