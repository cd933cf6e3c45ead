package yamux

import (
	"bytes"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sendBuffer is how many bytes may be under way, which the kernel doubles for its
// bookkeeping: 1.8 Gbit/s at a round trip of 100 ms, by the 230 Mbit/s measured with
// the 4 MiB that it gives by itself.
const sendBuffer = 16 << 20

// Tune sets what makes a TCP connection carry streams well over far paths; others
// are left alone. New does it; it is exported for relays, which have no Session. What
// the kernel refuses costs speed only.
//
// unsent is how many bytes the kernel takes beyond what it may send now: nothing can
// overtake what it has taken, so that is what a large send buffer must not fill with.
func Tune(conn net.Conn, unsent int) {
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
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
		if err != nil && plainBufferIsMore() {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		}
	})
}

// plainBufferIsMore reports whether SO_SNDBUF, which the kernel cuts to wmem_max and
// doubles and which stops it from growing the buffer by itself, gives more than that
// growth would: the last number in tcp_wmem (Documentation/networking/ip-sysctl).
func plainBufferIsMore() bool {
	most, err1 := lastNumber("/proc/sys/net/core/wmem_max")
	grown, err2 := lastNumber("/proc/sys/net/ipv4/tcp_wmem")
	return err1 == nil && err2 == nil && 2*min(most, sendBuffer) > grown
}

// lastNumber reads the last of the numbers in a file.
func lastNumber(name string) (int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) == 0 {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(string(f[len(f)-1]))
}
