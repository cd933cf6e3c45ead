//go:build !linux

package yamux

import "net"

// Tune sets what makes a TCP connection carry streams well; others are left
// alone. How much the kernel takes beyond what it may send cannot be said here.
func Tune(conn net.Conn, _ int) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetNoDelay(true)
	}
}
