package link

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A sock reads and writes the socket of a connection with a choice: to give up
// where it would have to wait, and to hold no buffer while it waits. One goroutine
// reads and one writes at a time.
type sock struct {
	raw syscall.RawConn

	// One write call. The functions are bound once: a closure per call would be an
	// allocation per record.
	writeFn func(fd uintptr) bool
	data    []byte
	written int
	wait    bool
	werr    error

	readFn func(fd uintptr) bool
	in     *reader
	rerr   error
}

// newSock returns nil if conn is not TCP: anything else may put a layer of its own
// over its socket.
func newSock(conn net.Conn) *sock {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil // only a closed one; its first Read will tell
	}
	k := &sock{raw: raw}
	k.writeFn, k.readFn = k.tryWrite, k.tryRead
	return k
}

// write writes b, which is borrowed. Without wait it returns n < len(b) and no
// error when the socket is full.
func (k *sock) write(b []byte, wait bool) (n int, err error) {
	k.data, k.written, k.wait, k.werr = b, 0, wait, nil
	err = k.raw.Write(k.writeFn)
	k.data = nil
	if err == nil {
		err = k.werr
	}
	return k.written, err
}

// tryWrite returns true when there is nothing to wait for.
func (k *sock) tryWrite(fd uintptr) bool {
	for k.written < len(k.data) {
		n, err := unix.Write(int(fd), k.data[k.written:])
		switch {
		case n > 0:
			k.written += n
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return !k.wait
		default:
			k.werr = os.NewSyscallError("write", err)
			return true
		}
	}
	return true
}

// read waits for bytes and appends them to r, which holds no slab meanwhile if it
// has nothing to keep in it.
func (k *sock) read(r *reader) error {
	k.in, k.rerr = r, nil
	if err := k.raw.Read(k.readFn); err != nil {
		return err
	}
	return k.rerr
}

func (k *sock) tryRead(fd uintptr) bool {
	for {
		n, err := unix.Read(int(fd), k.in.space())
		switch {
		case n > 0:
			k.in.end += n
			return true
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			k.in.rest()
			return false
		case err == nil:
			k.rerr = io.EOF
			return true
		default:
			k.rerr = os.NewSyscallError("read", err)
			return true
		}
	}
}
