package relay

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// intake is what the reader keeps from one read to the next.
type intake struct {
	body     body
	fragment [yamux.HeaderLen]byte // of a header that was cut by the end of a read
	fragLen  int
}

// A body is a data frame whose body has not come in completely.
type body struct {
	open  bool // there is one
	c     *circuit
	side  int // whose frame it is
	left  int
	flags yamux.Flags // FIN and RST take effect behind the last byte
}

// errStop tells the reader that the session is over; the reason is in its Reason.
type errStop struct{ reason Reason }

// Error names the reason.
func (e *errStop) Error() string { return "relay: " + e.reason.String() }

// read is the session's reader. It returns when the session is over.
func (s *session) read() {
	why := EndedByError
	// The raw connection calls take whenever there may be something to read, and
	// waits in between, while this goroutine holds neither batch nor deep stack.
	err := s.raw.Read(func(fd uintptr) bool {
		err := s.take(int(fd))
		var stop *errStop
		if errors.As(err, &stop) {
			why = stop.reason
		}
		return err != nil
	})
	if err != nil && s.srv.draining.Load() {
		why = EndedByShutdown
	}
	if why.Violation() {
		s.control(yamux.Header{Type: yamux.TypeGoAway, Length: uint32(yamux.GoAwayProtocolError)}, nil)
	}
	s.close(why)
}

// take reads until nothing is left, and handles what it reads. nil means that it
// wants to be called again when there is more.
func (s *session) take(fd int) error {
	b := s.srv.batches.Get().(*batch)
	defer s.srv.batches.Put(b)
	for {
		n, err := unix.Read(fd, b.buf[headroom:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return err
		case n == 0:
			return &errStop{EndedByPeer}
		}
		s.batches.Add(1)
		from := headroom - s.fragLen
		copy(b.buf[from:], s.fragment[:s.fragLen])
		s.fragLen = 0
		if err := s.handle(b, from, headroom+n); err != nil {
			return err
		}
		// A short read has mostly emptied the socket, but only EAGAIN proves it:
		// an end that came together with the data is announced just once.
	}
}

// handle takes b.buf[from:to] as the next bytes of the session.
func (s *session) handle(b *batch, from, to int) error {
	s.srv.stats.bytesIn.Add(uint64(to - from))
	for s.body.ready() || from < to {
		s.mu.Lock()
		n, why := s.parse(b, from, to)
		s.mu.Unlock()
		b.flush(s)
		if why != ReasonNone {
			return &errStop{why}
		}
		from = n
		if b.wait != nil {
			select {
			case <-b.wait:
			case <-s.done:
			}
			b.wait = nil
		}
		if s.closing.Load() {
			return &errStop{EndedByError} // somebody else gave the reason
		}
	}
	return nil
}

// ready reports whether the body has come in and only its flags are left to do.
func (f *body) ready() bool { return f.open && f.left == 0 }
