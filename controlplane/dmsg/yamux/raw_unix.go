//go:build unix

package yamux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// rawConn returns the descriptor behind conn, or nil. Only connections whose reads
// and writes are those of the descriptor count: a wrapper may inherit SyscallConn
// from what it wraps and hold bytes of its own.
func rawConn(conn net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return rc
}

// A rawWriter writes without blocking. One goroutine at a time may use it.
type rawWriter struct {
	rc  syscall.RawConn
	try func(fd uintptr) bool // once, so that a write allocates no closure
	p   []byte
	n   int
	err error
}

func newRawWriter(conn net.Conn) *rawWriter {
	rc := rawConn(conn)
	if rc == nil {
		return nil
	}
	w := &rawWriter{rc: rc}
	w.try = func(fd uintptr) bool {
		w.n, w.err = ignoringEINTR(syscall.Write, int(fd), w.p)
		return true // whatever came of it, do not wait
	}
	return w
}

// write writes what the connection takes of p now, perhaps nothing.
func (w *rawWriter) write(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	err := w.rc.Write(w.try)
	w.p = nil
	switch {
	case err != nil:
		return 0, fmt.Errorf("yamux: write: %w", err)
	case w.err == nil:
	case errors.Is(w.err, syscall.EAGAIN):
		return 0, nil
	default:
		return max(w.n, 0), fmt.Errorf("yamux: write: %w", w.err)
	}
	return w.n, nil
}

// A rawSource reads from a descriptor. It borrows a slab when there is something to
// read and gives it back before it waits.
type rawSource struct {
	rc  syscall.RawConn
	try func(fd uintptr) bool
	buf *Buf
	n   int
	err error
}

// newSource returns the source that suits conn.
func newSource(conn net.Conn) source {
	rc := rawConn(conn)
	if rc == nil {
		return &plainSource{conn: conn}
	}
	s := &rawSource{rc: rc}
	s.try = func(fd uintptr) bool {
		if s.buf == nil {
			s.buf = getBuf(slabSize)
		}
		s.n, s.err = ignoringEINTR(syscall.Read, int(fd), s.buf.mem)
		if errors.Is(s.err, syscall.EAGAIN) {
			s.release()
			return false
		}
		return true
	}
	return s
}

func (s *rawSource) next() ([]byte, error) {
	s.err = nil
	if err := s.rc.Read(s.try); err != nil {
		return nil, err
	}
	switch {
	case s.err != nil:
		return nil, s.err
	case s.n <= 0:
		return nil, io.EOF
	}
	return s.buf.mem[:s.n], nil
}

func (s *rawSource) release() {
	if s.buf != nil {
		s.buf.free()
		s.buf = nil
	}
}

func ignoringEINTR(op func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		n, err := op(fd, p)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
