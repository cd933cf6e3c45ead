package skynet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// bufferLen is the size in bytes of a copy's buffer, where a stream cannot copy by
// itself: one read of a large TCP window's worth for one write.
const bufferLen = 128 << 10

// A relay joins a stream of the overlay and a local one.
type relay struct {
	forward *forward
	key     string                      // of the other visor, "" if we dialled it
	stream  atomic.Pointer[transferred] // the overlay's, if it counts by itself
}

// transferred is a stream that knows how much has passed it, in both directions,
// also after it was closed.
type transferred interface {
	Transferred() (sent, received uint64)
}

// run copies both ways until both directions have ended, or one of them broke.
// Ends of data are passed on one by one: a client may close its half and go on
// reading. It closes neither connection, but on an error it resets both.
func (r *relay) run(overlay, local net.Conn) {
	f := r.forward
	if t, ok := overlay.(transferred); ok {
		r.stream.Store(&t)
	}
	up := make(chan error, 1)
	go func() {
		n, err := r.up(overlay, local)
		r.add(&f.count.sent, n)
		up <- pass(err, overlay, local)
	}()
	n, err := r.down(local, overlay)
	r.add(&f.count.recv, n)
	err = pass(err, local, overlay)
	if err = errors.Join(<-up, err); err != nil {
		f.failure(err)
	}
}

// add counts n bytes, unless the stream does so and is asked at the end.
func (r *relay) add(counter *atomic.Uint64, n int64) {
	if r.stream.Load() == nil {
		counter.Add(uint64(max(0, n)))
	}
}

// pass ends a direction: with the end of data, or with an error, which ends the
// other direction too.
func pass(err error, dst, src net.Conn) error {
	if err == nil {
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			// Fails only where the connection is over, which the other
			// direction sees as well.
			_ = half.CloseWrite()
			return nil
		}
		// Without half-close an end is the end.
		closeQuietly(dst)
		return nil
	}
	abort(dst)
	abort(src)
	if errors.Is(err, net.ErrClosed) {
		return nil // the echo of an error in the other direction, or we are stopped
	}
	return fmt.Errorf("skynet: connection broke: %w", cause(err))
}

// cause returns err without the two addresses that a net.OpError carries: between
// two keys of 66 digits nobody finds the reason.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s %s: %w", op.Op, op.Net, op.Err)
	}
	return err
}

// up copies from the local side into the overlay.
func (r *relay) up(overlay, local net.Conn) (int64, error) {
	if rf, ok := overlay.(io.ReaderFrom); ok {
		return rf.ReadFrom(local)
	}
	return r.copy(overlay, local, &r.forward.count.sent)
}

// down copies from the overlay to the local side.
func (r *relay) down(local, overlay net.Conn) (int64, error) {
	if wt, ok := overlay.(io.WriterTo); ok {
		return wt.WriteTo(local)
	}
	return r.copy(local, overlay, &r.forward.count.recv)
}

// copy copies through a pooled buffer and counts as it goes; so it returns 0. The
// hidden methods would allocate a buffer of their own.
func (r *relay) copy(dst io.Writer, src io.Reader, counter *atomic.Uint64) (int64, error) {
	pool := &r.forward.service.buffers
	buf := pool.Get().(*[bufferLen]byte)
	defer pool.Put(buf)
	_, err := io.CopyBuffer(counting{dst, counter}, struct{ io.Reader }{src}, buf[:])
	return 0, err
}

// counting is a Writer that counts.
type counting struct {
	io.Writer
	count *atomic.Uint64
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.count.Add(uint64(n))
	return n, err
}

// underway returns how much has passed that is not in the forward's counters yet.
func (r *relay) underway() (recv, sent uint64) {
	if t := r.stream.Load(); t != nil {
		sent, recv = (*t).Transferred()
	}
	return recv, sent
}

// end takes the relay off the forward's list and keeps what it counted.
func (r *relay) end() {
	f := r.forward
	f.mu.Lock()
	defer f.mu.Unlock()
	recv, sent := r.underway()
	f.count.recv.Add(recv)
	f.count.sent.Add(sent)
	delete(f.relays, r)
	f.places.leave(r.key)
}
