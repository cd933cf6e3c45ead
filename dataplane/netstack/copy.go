package netstack

import (
	"errors"
	"io"
	"net"
	"syscall"

	"gvisor.dev/gvisor/pkg/waiter"
)

// copyBuffer is the size of the buffers that ReadFrom and WriteTo take from the
// stack's pool while there is something to copy: about one super-segment.
const copyBuffer = maxPiece

// Moving data straight between a host socket and gVisor's chunks saves a copy on
// paper. It was tried (FIONREAD and read(2) into chunks, write(2) out of them with
// the endpoint locked) and cost 5 to 20 % more CPU per byte than this: short reads
// make short segments, and acknowledgements wait for the lock.

// ReadFrom implements io.ReaderFrom: it sends what r delivers until io.EOF, and
// closes nothing. While a TCP or Unix socket of the host has nothing to read it
// holds no buffer.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if raw := hostSocket(r); raw != nil {
		return c.readFromSocket(raw)
	}
	buf := c.stack.buffers.Get().(*[copyBuffer]byte)
	defer c.stack.buffers.Put(buf)
	var total int64
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			m, werr := c.Write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err != nil {
			return total, notEOF(err)
		}
	}
}

// readFromSocket takes a buffer only when there is something to put in it.
func (c *Conn) readFromSocket(raw syscall.RawConn) (total int64, err error) {
	for {
		var (
			buf  *[copyBuffer]byte
			n    int
			rerr error
		)
		err := raw.Read(func(fd uintptr) bool {
			buf = c.stack.buffers.Get().(*[copyBuffer]byte)
			for {
				n, rerr = syscall.Read(int(fd), buf[:])
				if !errors.Is(rerr, syscall.EINTR) {
					break
				}
			}
			if errors.Is(rerr, syscall.EAGAIN) {
				c.stack.buffers.Put(buf)
				buf = nil
				return false
			}
			return true
		})
		if err == nil && rerr != nil {
			err = rerr
		}
		if err == nil && n > 0 {
			n, err = c.Write(buf[:n])
			total += int64(n)
		} else if err != nil {
			err = c.opError("read", err)
		} else {
			err = io.EOF
		}
		if buf != nil {
			c.stack.buffers.Put(buf)
		}
		if err != nil {
			return total, notEOF(err)
		}
	}
}

// WriteTo implements io.WriterTo: it gives w what arrives until the other end
// closes its direction, and closes nothing. While nothing arrives it holds no
// buffer.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		c.awaitData()
		buf := c.stack.buffers.Get().(*[copyBuffer]byte)
		n, err := c.Read(buf[:])
		if n > 0 {
			var werr error
			n, werr = w.Write(buf[:n])
			total += int64(n)
			if err == nil {
				err = werr
			}
		}
		c.stack.buffers.Put(buf)
		if err != nil {
			return total, notEOF(err)
		}
	}
}

// awaitData waits until Read has something to say: data or an error.
func (c *Conn) awaitData() {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	for c.over(&c.rd.side) == nil && c.ep.Readiness(waiter.ReadableEvents) == 0 {
		c.moderate()
		<-c.rd.wake
	}
}

// notEOF turns io.EOF into success, which it is for a copy.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// hostSocket returns the raw access to a stream socket of the host, nil for
// anything else.
func hostSocket(r io.Reader) syscall.RawConn {
	switch r.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := r.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
