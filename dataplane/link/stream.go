package link

import (
	"errors"
	"net"
	"sync"

	"github.com/skyminer/skywire/dataplane/link/internal/fq"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Why a stream ends of its own accord; onClosed's error wraps one of these, an I/O
// error, or is what close was called with.
var (
	// errRecord says that a record does not open or does not parse to its end.
	errRecord = errors.New("link: bad record on the stream")
	// errSwitches says that the peer asks for new keys faster than they can be used.
	errSwitches = errors.New("link: too many key changes under way on the stream")
)

// A stream is the established part of a link over a byte stream: sealed records,
// each as full of route packets as there are (docs/wire.md section 3). It knows
// nothing of handshakes and timers.
//
// Whoever sends while nobody else does seals and writes on its own goroutine, so a
// stream with one sender hands nothing over. What others send meanwhile waits in a
// fair queue for the writer to come round; when the socket is full, or somebody has
// written long enough for others, a goroutine takes over until the queue is empty.
// An idle stream has one goroutine, the reader, and no slab.
//
// enqueue, sendControl, switchSend and close are safe for concurrent use and never
// wait for the network. switchRecv belongs to the reader's callbacks.
type stream struct {
	cfg   streamConfig
	owner *streamConn // nil in tests
	conn  net.Conn
	sock  *sock // conn's socket, nil if it has none to write to without waiting
	in    reader

	mu       sync.Mutex // guards the rest but out; held for moments only
	err      error      // why it was closed
	writing  bool       // somebody owns out
	queue    fq.Queue[queued]
	control  []byte // u16-prefixed packets that go first
	switches []keySwitch

	out     writer
	drainFn func() // drain, bound once so that starting it allocates nothing
}

// streamConfig says what a stream belongs to. Callbacks run on the reader's
// goroutine; what they are given is borrowed until they return.
type streamConfig struct {
	link *Link
	pool *streamPool     // of the engine
	wg   *sync.WaitGroup // counts the stream's goroutines
	now  func() int64    // the engine's clock in ns, read once per batch
	tx   func() *Tx      // takes a Tx for a burst …
	put  func(*Tx)       // … and gives it back

	onBurst   func(b *Burst)
	onControl func(pkt []byte, now int64) // a label 0 packet, at least packet.RouteAlign long
	onClosed  func(err error)             // once, the last call

	queueLimit int // bytes waiting to be sent; 0 is fq.DefaultLimit
}

// streamPool holds what streams need only while they are busy. The zero value is
// ready; one serves all streams of an engine.
type streamPool struct {
	bursts sync.Pool
	queues fq.Pool[queued]
}

func (p *streamPool) burst() *Burst {
	if b, ok := p.bursts.Get().(*Burst); ok {
		return b
	}
	return new(Burst)
}

// item is what Tx hands over: n frames in buf.B[:used], seg bytes apart, the last
// may be shorter. A frame is 16 spare bytes, a route packet and 16 spare bytes.
type item struct {
	buf          *packet.Buf // owned
	used, seg, n int
}

// newStream starts to read from conn, which it owns from now on. The keys are the
// connection's first; their counters stand at 0.
func newStream(conn net.Conn, send *noise.SendKey, recv *noise.RecvKey, cfg streamConfig) *stream {
	s := &stream{cfg: cfg, conn: conn}
	s.sock = newSock(conn)
	s.in.key = recv
	s.out.key = send
	s.queue = fq.Queue[queued]{Pool: &cfg.pool.queues, Drop: s.dropped, Limit: cfg.queueLimit}
	s.drainFn = s.drain
	cfg.wg.Go(s.readLoop)
	return s
}

// close ends the stream: what is queued is dropped, both goroutines stop, and
// onClosed gets the err of the first close.
func (s *stream) close(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		if !s.writing {
			s.discard()
		}
	}
	s.mu.Unlock()
	if first {
		_ = s.conn.Close() // nothing is left to lose
	}
}

// discard frees all that will not be sent any more. Called with mu held by, or in
// the absence of, the owner of out.
func (s *stream) discard() {
	s.queue.Clear()
	s.queue.Release()
	if s.out.has {
		s.dropped(s.out.next)
	}
	if s.out.rec.buf != nil {
		s.out.rec.buf.Free()
	}
	s.out.next, s.out.has, s.out.rec = queued{}, false, record{}
	s.control, s.switches = nil, nil
}

// cause returns why the stream was closed, or nil.
func (s *stream) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
