//go:build !linux

package yamux

import "net"

// tune sets what makes a connection carry streams well.
func tune(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetNoDelay(true)
	}
}
