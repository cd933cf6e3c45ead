package netstack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// moderateEvery is how many bytes are read between two calls of gVisor's
// receive-buffer tuning, which takes the endpoint's lock.
const moderateEvery = 256 << 10

// A Conn is one end of a stream: a net.Conn that can be closed by halves, and that
// holds no buffer while io.Copy waits on it.
//
// Errors: io.EOF at the other end's half-close; net.ErrClosed after Close;
// os.ErrDeadlineExceeded; [ErrPeerGone]; otherwise one that wraps a syscall.Errno
// (ECONNRESET, EPIPE, ETIMEDOUT).
type Conn struct {
	stack  *Stack
	ep     tcpip.Endpoint
	entry  waiter.Entry
	local  Addr
	remote Addr
	guest  bool // another visor began it

	cause atomic.Pointer[error] // why the stream ended on our side; first one wins

	sent, received atomic.Uint64 // bytes of data

	floor  atomic.Int64          // shortest round trip so far, in ns; 0 for none
	spread atomic.Pointer[paths] // nil: it never was

	rack rackSwitch

	rd struct {
		side
		dst    tcpip.SliceWriter
		copied int // bytes since the receive buffer was tuned
	}
	wr struct {
		side
		src  bytes.Reader
		pace pacer
	}
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
)

// newConn wraps an endpoint that is not closed by anybody else.
func (s *Stack) newConn(ep tcpip.Endpoint, wq *waiter.Queue, local, remote Addr) *Conn {
	c := &Conn{stack: s, ep: ep, local: local, remote: remote}
	c.rd.init()
	c.wr.init()
	// Registered for the life of the stream: gonet allocates an entry and a channel
	// for each call that has to wait.
	c.entry.Init(c, waiter.ReadableEvents|waiter.WritableEvents|waiter.EventHUp|waiter.EventErr)
	wq.EventRegister(&c.entry)

	c.rack.attach(ep)
	so := ep.SocketOptions()
	so.SetDelayOption(false) // no Nagle: who writes small wants it sent
	so.SetKeepAlive(true)
	idle, interval := tcpip.KeepaliveIdleOption(keepIdle), tcpip.KeepaliveIntervalOption(keepInterval)
	ep.SetSockOpt(&idle)
	ep.SetSockOpt(&interval)
	ep.SetSockOptInt(tcpip.KeepaliveCountOption, keepCount)
	return c
}

// NotifyEvent implements waiter.EventListener.
func (c *Conn) NotifyEvent(mask waiter.EventMask) {
	const over = waiter.EventHUp | waiter.EventErr
	if mask&(waiter.ReadableEvents|over) != 0 {
		c.rd.poke()
	}
	if mask&(waiter.WritableEvents|over) != 0 {
		c.wr.poke()
	}
	if mask&over != 0 && c.ended() != nil {
		c.release()
	}
}

// ended returns why the stream is over on our side, or nil.
func (c *Conn) ended() error {
	if p := c.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// end records why the stream ends and reports whether it was the first to do so.
func (c *Conn) end(why error) bool {
	first := c.cause.CompareAndSwap(nil, &why)
	c.rd.poke()
	c.wr.poke()
	return first
}

// fail resets the stream; calls on it return why.
func (c *Conn) fail(why error) {
	if c.end(why) {
		c.rd.stop()
		c.wr.stop()
	}
	// Also after Close, while the endpoint still tries to get rid of its data.
	c.ep.Abort()
	c.ep.Close()
	c.stack.budget.remove(c)
}

// release gives the stream's share of the budget back once its endpoint holds no
// data any more: a closed stream may have megabytes under way for a while. gVisor
// calls it through NotifyEvent, with the endpoint locked.
func (c *Conn) release() {
	switch tcp.EndpointState(c.ep.State()) {
	case tcp.StateClose, tcp.StateError, tcp.StateTimeWait:
		c.stack.budget.remove(c)
	}
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	c.rd.dst = b
	n, err := c.readTo(&c.rd.dst)
	c.rd.dst = nil
	c.received.Add(uint64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		return n, c.opError("read", err)
	}
	return n, err
}

// readTo waits for data and gives what there is to w. The endpoint is locked while
// w.Write runs. Callers hold c.rd.mu.
func (c *Conn) readTo(w io.Writer) (int, error) {
	for {
		if err := c.over(&c.rd.side); err != nil {
			return 0, err
		}
		res, err := c.ep.Read(w, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			if c.rd.copied += res.Count; c.rd.copied >= moderateEvery {
				c.moderate()
			}
			return res.Count, nil
		case *tcpip.ErrWouldBlock:
			c.moderate()
			<-c.rd.wake
		default:
			return 0, c.readError(err)
		}
	}
}

// over returns why a direction can do nothing now or ever again, or nil.
func (c *Conn) over(s *side) error {
	if err := c.ended(); err != nil {
		return err
	}
	return s.expired()
}

// readError turns what the endpoint's Read says into what a caller expects.
func (c *Conn) readError(err tcpip.Error) error {
	if why := c.ended(); why != nil {
		return why
	}
	if _, ok := err.(*tcpip.ErrClosedForReceive); ok {
		return io.EOF
	}
	return fromStack(err)
}

// writeError does the same for Write.
func (c *Conn) writeError(err tcpip.Error) error {
	if why := c.ended(); why != nil {
		return why
	}
	return fromStack(err)
}

// moderate tells gVisor how much was read, so that the window follows the rate.
func (c *Conn) moderate() {
	if c.rd.copied > 0 {
		c.ep.ModerateRecvBuf(c.rd.copied)
		c.rd.copied = 0
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	// One piece becomes one super-segment, in one chunk. Even pieces: what is left of
	// a large write would else leave in a small one, which costs as much to send.
	pieces := max(1, (len(b)+maxPiece-1)/maxPiece)
	size := (len(b) + pieces - 1) / pieces
	done := 0
	for {
		c.wr.src.Reset(b[done:min(len(b), done+size)])
		var (
			n   int
			err error
		)
		if c.far() && c.path() == 0 { // else the session paces
			err = c.awaitTurn(c.wr.src.Len())
		}
		if err == nil {
			n, err = c.writeFrom(&c.wr.src)
		}
		done += n
		c.sent.Add(uint64(n))
		if err != nil {
			c.wr.src.Reset(nil)
			return done, c.opError("write", err)
		}
		if done == len(b) {
			c.wr.src.Reset(nil)
			return done, nil
		}
	}
}

// writeFrom waits for space in the send buffer and fills it from p, perhaps not
// with all of it. The endpoint is not locked while p is read. Callers hold
// c.wr.mu.
func (c *Conn) writeFrom(p tcpip.Payloader) (int, error) {
	for {
		if err := c.over(&c.wr.side); err != nil {
			return 0, err
		}
		n, err := c.ep.Write(p, tcpip.WriteOptions{})
		switch err.(type) {
		case nil:
			return int(n), nil
		case *tcpip.ErrWouldBlock:
			c.awaitSpace()
		default:
			return 0, c.writeError(err)
		}
	}
}

// Close closes both directions. Data already written is still delivered; calls
// that wait return net.ErrClosed.
func (c *Conn) Close() error {
	if c.end(net.ErrClosed) {
		c.rd.stop()
		c.wr.stop()
		c.ep.Close()
		c.release()
	}
	return nil
}

// Abort resets the stream: the other end reads ECONNRESET, never an end of data.
// Calls that wait return net.ErrClosed. It is for data that broke off.
func (c *Conn) Abort() error {
	c.fail(net.ErrClosed)
	return nil
}

// Transferred returns how many bytes of data were written and read so far. It may
// be called at any time, also after Close.
func (c *Conn) Transferred() (sent, received uint64) {
	return c.sent.Load(), c.received.Load()
}

// CloseWrite ends our direction: the other end reads io.EOF after what was
// written. Reading goes on.
func (c *Conn) CloseWrite() error { return c.shutdown(tcpip.ShutdownWrite) }

// CloseRead ends reading. What the other end still sends resets the stream.
func (c *Conn) CloseRead() error { return c.shutdown(tcpip.ShutdownRead) }

func (c *Conn) shutdown(how tcpip.ShutdownFlags) error {
	if err := c.ended(); err != nil {
		return c.opError("close", err)
	}
	if err := c.ep.Shutdown(how); err != nil {
		return c.opError("close", fromStack(err))
	}
	return nil
}

// LocalAddr returns our [Addr].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's [Addr]: the key that its session has proved.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.rd.setDeadline(t)
	c.wr.setDeadline(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { c.rd.setDeadline(t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.wr.setDeadline(t); return nil }

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: Net, Source: c.local, Addr: c.remote, Err: err}
}
