package yamux

import "net"

// A source is where a session's bytes come from.
type source interface {
	// next waits for bytes and returns them, at least one. They are borrowed until
	// the next call.
	next() ([]byte, error)
	// release gives back what is borrowed.
	release()
}

// waitSize is what a plainSource holds while it waits: a few dozen headers.
const waitSize = 1 << 10

// A plainSource reads from any connection. It cannot wait without a buffer, so it
// waits with a small one and takes a slab while reads fill what they are given.
type plainSource struct {
	conn net.Conn
	buf  *Buf
	full bool // the last read filled buf
}

func (s *plainSource) next() ([]byte, error) {
	want := waitSize
	if s.full {
		want = slabSize
	}
	if s.buf == nil || len(s.buf.mem) != headroom+want {
		s.release()
		s.buf = getBuf(want)
	}
	for {
		n, err := s.conn.Read(s.buf.mem)
		s.full = n == len(s.buf.mem)
		if n > 0 {
			return s.buf.mem[:n], nil // an error beside bytes comes again alone
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *plainSource) release() {
	if s.buf != nil {
		s.buf.free()
		s.buf = nil
	}
}
