//go:build !linux

package link

import "net"

// tuneTCP does nothing here: TCP_NODELAY is Go's default, and the rest is a
// matter of a shorter queue.
func tuneTCP(net.Conn) {}
