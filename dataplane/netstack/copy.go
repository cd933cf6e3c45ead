package netstack

import (
	"io"
	"net"
	"syscall"
)

// Copying between a stream and a TCP or Unix socket of the host moves the data
// straight between the kernel and gVisor's chunks where the system allows it (see
// copy_linux.go): no buffer in between, no copy into it, and nothing held while
// the stream is idle.

// ReadFrom implements io.ReaderFrom: it sends what r delivers until io.EOF, and
// does not close anything.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if raw := hostSocket(r); raw != nil && spliceSupported {
		return c.spliceFrom(raw)
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// WriteTo implements io.WriterTo: it gives w what arrives until the other end
// closes its direction, and does not close anything.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if raw := hostSocket(w); raw != nil && spliceSupported {
		return c.spliceTo(raw)
	}
	return io.Copy(w, struct{ io.Reader }{c})
}

// hostSocket returns the raw access to a stream socket of the host, nil for
// anything else: only there is the number of bytes ready known in advance.
func hostSocket(x any) syscall.RawConn {
	switch x.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := x.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
