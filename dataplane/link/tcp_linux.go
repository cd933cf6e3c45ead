package link

import (
	"net"

	"golang.org/x/sys/unix"
)

// tuneTCP keeps the queue out of the kernel. TCP_NODELAY is Go's default. Where an
// option is refused the link works all the same, with a longer queue.
func tuneTCP(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	})
}
