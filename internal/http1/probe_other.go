//go:build !unix

package http1

import "net"

func (*probe) init(net.Conn) {}

func (*probe) silent() bool { return false }
