package yamux

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// simPiece is how many bytes arrive together on a simulated connection.
const simPiece = 4 << 10

// simQueue is how much a simulated connection takes beyond what it has sent.
const simQueue = 200 * time.Millisecond

// simPair returns a connection with a delay, in each direction, and a rate in bytes
// per second, on the clock of the test's bubble.
func simPair(delay time.Duration, rate float64) (a, b net.Conn) {
	x, y := newSimPipe(delay, rate), newSimPipe(delay, rate)
	return &simConn{in: x, out: y}, &simConn{in: y, out: x}
}

type simConn struct {
	in, out  *simPipe
	mu       sync.Mutex
	deadline time.Time // of writes
}

// A simPipe is one direction.
type simPipe struct {
	delay time.Duration
	rate  float64

	mu     sync.Mutex
	more   sync.Cond
	queue  []simChunk
	free   time.Time // when all that was written has been sent
	closed bool
	stuck  bool // takes nothing any more
}

type simChunk struct {
	at time.Time // of arrival
	p  []byte
}

func newSimPipe(delay time.Duration, rate float64) *simPipe {
	p := &simPipe{delay: delay, rate: rate, free: time.Now()}
	p.more.L = &p.mu
	return p
}

func (c *simConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	return c.out.write(p, deadline)
}

func (q *simPipe) write(p []byte, deadline time.Time) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(p) {
		now := time.Now()
		if q.free.Before(now) {
			q.free = now
		}
		wait := q.free.Sub(now) - simQueue
		if q.stuck {
			wait = time.Hour
		}
		switch {
		case q.closed:
			return n, net.ErrClosed
		case wait > 0 && !deadline.IsZero() && !now.Before(deadline):
			return n, os.ErrDeadlineExceeded
		case wait > 0:
			if left := time.Until(deadline); !deadline.IsZero() && left < wait {
				wait = left
			}
			q.sleep(wait)
			continue
		}
		piece := slices.Clone(p[n:min(n+simPiece, len(p))])
		q.free = q.free.Add(time.Duration(float64(len(piece)) / q.rate * float64(time.Second)))
		q.queue = append(q.queue, simChunk{q.free.Add(q.delay), piece})
		q.more.Broadcast()
		n += len(piece)
	}
	return n, nil
}

// sleep waits for d, or less.
func (q *simPipe) sleep(d time.Duration) {
	wake := time.AfterFunc(d, q.more.Broadcast)
	q.more.Wait()
	wake.Stop()
}

func (c *simConn) Read(p []byte) (int, error) {
	q := c.in
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if len(q.queue) == 0 {
			if q.closed {
				return 0, io.EOF
			}
			q.more.Wait()
			continue
		}
		if wait := time.Until(q.queue[0].at); wait > 0 {
			q.sleep(wait)
			continue
		}
		n := copy(p, q.queue[0].p)
		if q.queue[0].p = q.queue[0].p[n:]; len(q.queue[0].p) == 0 {
			q.queue = q.queue[1:]
		}
		return n, nil
	}
}

// Close lets what was written arrive.
func (c *simConn) Close() error {
	for _, q := range []*simPipe{c.in, c.out} {
		q.mu.Lock()
		q.closed = true
		if q == c.in {
			q.queue = nil
		}
		q.more.Broadcast()
		q.mu.Unlock()
	}
	return nil
}

// jam makes writes to c block.
func (c *simConn) jam() {
	c.out.mu.Lock()
	c.out.stuck = true
	c.out.mu.Unlock()
}

func (c *simConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return nil
}

func (*simConn) SetReadDeadline(time.Time) error { return nil }

func (c *simConn) SetDeadline(t time.Time) error { return c.SetWriteDeadline(t) }

func (*simConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (*simConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }
