package dmsg

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// lengthLen is the length of a frame's length, in bytes.
const lengthLen = 2

// A reader is the receiving half of a Stream.
type reader struct {
	mu   sync.Mutex
	recv *proto.RecvStream
	// plain is the part of an opened frame that nobody has read yet. It aliases the
	// receive buffer, which the frame's bytes leave when all of it is read.
	plain []byte
	frame int   // bytes to discard then
	err   error // why there can be no more; a deadline is no reason
}

// Read fills p with what has arrived, waiting for the first byte until the read
// deadline. It opens frames where they were received and copies once, into p. It
// allocates nothing in the steady state.
func (s *Stream) Read(p []byte) (n int, err error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) && (n == 0 || s.ready()) {
		if len(s.r.plain) == 0 {
			if err := s.next(); err != nil {
				if n > 0 {
					return n, nil // the error comes again
				}
				return 0, err
			}
			continue
		}
		took := copy(p[n:], s.r.plain)
		n += took
		s.consume(took)
	}
	return n, nil
}

// consume takes n bytes off what is open. mu is held.
func (s *Stream) consume(n int) {
	if s.r.plain = s.r.plain[n:]; len(s.r.plain) == 0 {
		s.mux.Discard(s.r.frame)
		s.r.frame = 0
	}
}

// ready reports whether more can be read without waiting. mu is held.
func (s *Stream) ready() bool {
	if len(s.r.plain) > 0 {
		return true
	}
	have := s.mux.Buffered()
	if s.r.err != nil || have < lengthLen {
		return false
	}
	head, err := s.mux.Peek(lengthLen)
	return err == nil && have >= lengthLen+int(binary.BigEndian.Uint16(head))
}

// next opens the next frame, or takes in something that carries no data. mu is held
// and plain is empty.
func (s *Stream) next() error {
	if s.r.err != nil {
		return s.r.err
	}
	head, err := s.mux.Peek(lengthLen)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(head))
	if size == 0 {
		s.mux.Discard(lengthLen)
		s.answerPing()
		return nil
	}
	if size < proto.MinFrameBody || size > proto.MaxFrameBody {
		return s.spoilt(fmt.Errorf("%w of a frame: %d", proto.ErrLength, size))
	}
	frame, err := s.mux.Peek(lengthLen + size)
	if err != nil {
		return err
	}
	plain, err := s.r.recv.Open(frame[lengthLen:])
	if err != nil {
		return s.spoilt(err)
	}
	if len(plain) == 0 { // legal: padding, a sign of life
		s.mux.Discard(lengthLen + size)
		return nil
	}
	s.r.plain, s.r.frame = plain, lengthLen+size
	return nil
}

// spoilt ends a stream whose bytes cannot be what the peer has sent.
func (s *Stream) spoilt(err error) error {
	s.r.err = fmt.Errorf("dmsg: stream with %s: damaged on the way: %w", s.remote, err)
	s.mux.Reset()
	return s.r.err
}
