package yamux

import (
	"net"

	"golang.org/x/sys/unix"
)

// notSentLowat is how many bytes the kernel takes beyond what it may send now. What
// it has taken a control frame cannot overtake.
const notSentLowat = 256 << 10

// tune sets what makes a connection carry streams well. What the kernel refuses
// costs speed only.
func tune(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = c.SetNoDelay(true)
	rc, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	})
}
