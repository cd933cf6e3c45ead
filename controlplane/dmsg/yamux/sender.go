package yamux

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// maxControl is how many bytes of control frames may stand in the queue. Only a
	// peer that provokes them and reads nothing gets there: 4,096 streams that open,
	// grant, close and reset at the same moment take a fifth of it.
	maxControl = 1 << 20

	// maxReflected is how many answers (to pings, to streams refused) may wait for
	// a peer that asks faster than it reads.
	maxReflected = 4096

	// inlineRounds is how many writes a caller does before it leaves the rest of the
	// queue, which others filled meanwhile, to a goroutine.
	inlineRounds = 3
)

// A sender writes the frames of all streams to the connection. Whoever hands it a
// frame while nobody writes does so inline, without blocking; what the connection
// does not take at once, and what is queued meanwhile, goes out by a goroutine that
// lives until the queue is empty.
//
// Order of locks: a Stream's or the Session's, then the sender's.
type sender struct {
	conn    net.Conn
	raw     *rawWriter // nil: conn has no write that never blocks
	timeout time.Duration
	fatal   func(error)     // ends the session; called without locks
	wg      *sync.WaitGroup // counts the goroutine
	room    room

	mu        sync.Mutex
	err       error         // why nothing is written any more
	control   []byte        // control frames: they go first
	reflected int           // how many of them the peer provoked
	data      bufQueue      // frames that stay in order: data, FIN, RST
	bare      int           // those of them without data, which take no room
	busy      bool          // somebody writes, and owns the fields below
	gathered  sync.Cond     // reflected went back to 0, or err was set
	idle      chan struct{} // if not nil: closed at the end of busy

	out batch
}

// push queues a frame. It only links, so that the caller can hold its own lock to
// keep its frames in order; flush has to follow when that lock is released.
// Ownership of b passes on, whatever the result. taken is what b has of the room.
func (s *sender) push(b *Buf, taken int) error {
	b.room = taken
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		b.free()
		return s.err
	}
	if taken == 0 {
		s.bare++
	}
	s.data.push(b)
	return nil
}

// pushControl queues a control frame, which overtakes data; flush has to follow.
func (s *sender) pushControl(h Header) {
	s.mu.Lock()
	s.appendControl(h)
	s.mu.Unlock()
}

// reflect is pushControl for an answer that the peer can ask for as often as it
// likes. While too many of them wait it does so too: then the session reads nothing
// more until the peer reads, or until it is given up for dead.
func (s *sender) reflect(h Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.reflected >= maxReflected && s.err == nil {
		if !s.busy {
			s.mu.Unlock()
			s.flush()
			s.mu.Lock()
			continue
		}
		s.gathered.Wait()
	}
	s.appendControl(h)
	s.reflected++
}

func (s *sender) appendControl(h Header) {
	if s.err != nil {
		return
	}
	n := len(s.control)
	s.control = append(s.control, make([]byte, HeaderLen)...)
	h.Put(s.control[n:])
}

// flush writes what is queued, as far as the connection takes it now, and leaves
// the rest to the goroutine. It never blocks.
func (s *sender) flush() {
	s.mu.Lock()
	if s.busy || s.err != nil || !s.pending() {
		over := s.err == nil && len(s.control)+s.bare*headroom > maxControl
		s.mu.Unlock()
		if over {
			s.fatal(errNotReading)
		}
		return
	}
	s.busy = true
	for range inlineRounds {
		if s.raw == nil {
			break
		}
		s.gather()
		s.mu.Unlock()
		all, err := s.out.try(s.raw)
		s.settle()
		s.mu.Lock()
		if err != nil || s.err != nil {
			s.done()
			s.mu.Unlock()
			if err != nil {
				s.fatal(err)
			}
			return
		}
		if !all {
			break
		}
		if !s.pending() {
			s.done()
			s.mu.Unlock()
			return
		}
	}
	s.wg.Add(1)
	s.mu.Unlock()
	go s.run()
}

// run is the goroutine: it writes until nothing is left, waiting where it has to.
func (s *sender) run() {
	defer s.wg.Done()
	for {
		s.mu.Lock()
		s.gather()
		if s.err != nil || s.out.empty() {
			s.done()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if err := s.writeAll(); err != nil {
			s.mu.Lock()
			s.done()
			s.mu.Unlock()
			s.fatal(err)
			return
		}
		s.settle()
	}
}

// writeAll writes the batch; a peer that takes nothing at all for s.timeout is an
// error, a slow one is not.
func (s *sender) writeAll() error {
	for !s.out.empty() {
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
			return fmt.Errorf("yamux: set write deadline: %w", err)
		}
		n, err := s.out.write(s.conn)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("yamux: the peer took nothing for %v: %w", s.timeout, err)
		case err != nil:
			return fmt.Errorf("yamux: write: %w", err)
		}
	}
	// What is written inline later has no deadline: it does not wait.
	if err := s.conn.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("yamux: clear write deadline: %w", err)
	}
	return nil
}

func (s *sender) pending() bool { return len(s.control) > 0 || s.data.head != nil || !s.out.empty() }

// gather moves what is queued into the batch: control frames first, but behind what
// the batch holds already. s.mu is held, and busy.
func (s *sender) gather() {
	if len(s.control) > 0 {
		s.out.addControl(s.control)
		s.control = s.out.takeSpare()
	}
	s.reflected, s.bare = 0, 0
	s.gathered.Broadcast()
	for s.data.head != nil {
		s.out.add(s.data.pop())
	}
}

// settle gives the room of the frames that are written to those that wait for it.
func (s *sender) settle() {
	if n := s.out.takeRoom(); n > 0 {
		s.room.give(n)
	}
}

// done ends busy. s.mu is held.
func (s *sender) done() {
	s.busy = false
	if s.err != nil {
		s.out.drop()
	}
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// fail drops what is queued; from now on push fails with err.
func (s *sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.gathered.Broadcast()
	s.control = nil
	s.data.free()
	if !s.busy {
		s.out.drop()
	}
}

// linger waits until all is written, at most d.
func (s *sender) linger(d time.Duration) {
	s.mu.Lock()
	if s.err != nil || !s.busy {
		s.mu.Unlock()
		return
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	}
}
