package foreign

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

// maxPlain is the most plaintext in one frame.
const maxPlain = 4070

// A Stream is a net.Conn between two clients. Each frame is one write to yamux, at
// most 4096 bytes.
type Stream struct {
	*yamux.Stream
	Local, Remote Addr

	send, recv *half
	rest       []byte
	err        error
	onClose    func()
	// Pings counts the empty frames of the newer software's stream ping that
	// came back.
	Pings int
}

// Read returns what arrived. Errors other than time-outs stay.
func (s *Stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		if err := s.fill(); err != nil {
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				s.err = err
			}
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *Stream) fill() error {
	body, err := readPrefixed(s.Stream)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		s.Pings++
		return nil
	}
	if len(body) > 4094 {
		return fmt.Errorf("foreign: frame of %d bytes", len(body))
	}
	s.rest, err = s.recv.open(body, true)
	return err
}

// Write sends p in frames.
func (s *Stream) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		n := min(len(p), maxPlain)
		if _, err := s.Stream.Write(s.send.seal(p[:n])); err != nil {
			return done, err
		}
		p, done = p[n:], done+n
	}
	return done, nil
}

// WriteEmpty sends a frame without content, which a reader skips.
func (s *Stream) WriteEmpty() error {
	_, err := s.Stream.Write(s.send.seal(nil))
	return err
}

// Ping sends the newer software's stream ping: a length of zero.
func (s *Stream) Ping() error {
	_, err := s.Stream.Write([]byte{0, 0})
	return err
}

// Close ends our direction; hashicorp's yamux has no other close.
func (s *Stream) Close() error {
	if s.onClose != nil {
		s.onClose()
	}
	return s.Stream.Close()
}

var _ io.ReadWriteCloser = (*Stream)(nil)
