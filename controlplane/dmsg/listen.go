package dmsg

import (
	"net"
	"sync"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// maxAcceptQueue is how many streams wait for Accept; those beyond it are refused with
// proto.ErrAcceptQueueFull.
const maxAcceptQueue = 256

// A Listener accepts the streams that come to one port, whatever relay they come by.
// It is a net.Listener; all methods may be called concurrently.
type Listener struct {
	c    *Client
	port uint16

	queue chan *Stream
	slots chan struct{} // a token for each stream in the queue or on its way there
	done  chan struct{}

	mu     sync.Mutex // makes closed and what happens to queue one
	closed bool
}

var _ net.Listener = (*Listener)(nil)

// Listen opens port, 1 to 65535, for streams to the client's key. It works before Run
// and outlives every session.
//
// Errors: proto.ErrPortInUse, also for a port that a dialled stream has at the moment;
// proto.ErrReqDstPort for 0; ErrClosed.
func (c *Client) Listen(port uint16) (*Listener, error) {
	if port == 0 {
		return nil, proto.ErrReqDstPort
	}
	l := &Listener{
		c: c, port: port, done: make(chan struct{}),
		queue: make(chan *Stream, maxAcceptQueue), slots: make(chan struct{}, maxAcceptQueue),
	}
	if err := c.ports.listen(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Accept waits for the next stream. After Close it fails with ErrClosed, which is a
// net.ErrClosed; nothing else ends it, for the client outlives its sessions.
func (l *Listener) Accept() (net.Conn, error) {
	s, err := l.AcceptStream()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// AcceptStream is Accept for those who want a Stream.
func (l *Listener) AcceptStream() (*Stream, error) {
	select {
	case s := <-l.queue:
		<-l.slots
		return s, nil
	case <-l.done:
		return nil, ErrClosed
	}
}

// Close frees the port and resets the streams that nobody has accepted. Accepted ones
// live on.
func (l *Listener) Close() error {
	l.c.ports.unlisten(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case s := <-l.queue:
			<-l.slots
			s.Reset()
		default:
			return nil
		}
	}
}

// Addr returns the key and port, a proto.Addr.
func (l *Listener) Addr() net.Addr { return proto.Addr{PK: l.c.PubKey(), Port: l.port} }

// reserve keeps a place in the queue for a stream that is being set up.
func (l *Listener) reserve() bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// unreserve gives the place back.
func (l *Listener) unreserve() { <-l.slots }

// push puts s into its reserved place; it fails, and the place is free again, once l is
// closed.
func (l *Listener) push(s *Stream) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.unreserve()
		return ErrClosed
	}
	l.queue <- s // does not block: there are as many places as slots
	return nil
}
