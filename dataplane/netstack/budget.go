package netstack

import (
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// maxBuffer is the largest send or receive buffer of one stream, in bytes. Half
	// of a receive buffer is window, so 64 MiB fill 500 ms at 500 Mbit/s.
	maxBuffer = 64 << 20
	// minBuffer is the smallest: what a stream keeps however many there are.
	minBuffer = 32 << 10
	// firstBuffer is what a stream starts with. Buffers are limits, not memory: an
	// idle stream holds no data, whatever its limits.
	firstBuffer = 256 << 10
	// leastShare is how many streams one other visor may have however small the
	// budget is, up to half of it: a browser opens this many.
	leastShare = 32
)

// A budget shares the memory for stream buffers among the streams.
//
// Each stream has two buffers, so n streams may have total/(2n) bytes in each. n
// is rounded up to a power of two: the limit then changes, and streams are walked,
// log2(n) times on the way to n and not n times. At minBuffer the number of
// streams is bounded instead of their buffers. The sum of all limits is therefore
// at most total; gVisor counts the structs around the data in, and a merged packet
// fills its chunk, so the memory behind the limits is near them (at worst, for
// bursts just above a power of two, twice).
//
// Growth within the limit is gVisor's: the receive buffer follows what was read per
// round trip, the send buffer the congestion window. A limit that falls applies to
// streams that are already open too; a window once given to the other end is never
// taken back (RFC 9293, section 3.8.6), so what is under way may still arrive.
type budget struct {
	total int64
	stack *stack.Stack

	// spreading counts the streams that were busy and spread over several paths when they
	// were last looked after.
	spreading atomic.Int32

	mu      sync.Mutex
	limit   int // bytes per buffer
	closed  bool
	tending *time.Timer // runs tend while there are streams
	streams map[*Conn]struct{}
	byKey   map[cipher.PubKey]int // streams that others began
}

// limitFor returns the bytes per buffer when n streams share total bytes.
func limitFor(total int64, n int) int {
	if n > 1 {
		n = 1 << bits.Len(uint(n-1))
	}
	return int(min(max(total/int64(2*max(n, 1)), minBuffer), maxBuffer))
}

// bufferLimit returns what one buffer may have now, in bytes.
func (b *budget) bufferLimit() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit
}

// maxStreams returns how many streams fit.
func (b *budget) maxStreams() int {
	return int(max(b.total/(2*minBuffer), 1))
}

// share returns how many streams one other visor may have open to us: a quarter of
// all, so that one key does not take the port of a public service, or the memory,
// from the others. Where a quarter is few, it is up to half.
func (b *budget) share() int {
	all := b.maxStreams()
	return max(all/4, min(leastShare, all/2), 1)
}

// add makes room for c.
//
// Errors: ErrTooManyStreams, errShare, net.ErrClosed.
func (b *budget) add(c *Conn) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return net.ErrClosed
	}
	if len(b.streams) >= b.maxStreams() {
		return ErrTooManyStreams
	}
	if c.guest {
		if b.byKey[c.remote.PK] >= b.share() {
			return errShare
		}
		b.byKey[c.remote.PK]++
	}
	b.streams[c] = struct{}{}
	b.apply()
	if b.tending == nil {
		b.tending = time.AfterFunc(tendEvery, b.tend)
	}
	return nil
}

// close makes every later add fail.
func (b *budget) close() {
	b.mu.Lock()
	b.closed = true
	if b.tending != nil {
		b.tending.Stop()
	}
	b.mu.Unlock()
}

// remove gives c's share back. It may be called more than once.
func (b *budget) remove(c *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.streams[c]; !ok {
		return
	}
	delete(b.streams, c)
	if pk := c.remote.PK; c.guest {
		if b.byKey[pk]--; b.byKey[pk] == 0 {
			delete(b.byKey, pk)
		}
	}
	b.apply()
}

// each calls f for every stream, without the lock.
func (b *budget) each(f func(*Conn)) {
	b.mu.Lock()
	all := make([]*Conn, 0, len(b.streams))
	for c := range b.streams {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// apply sets the limit for the present number of streams. Callers hold b.mu.
func (b *budget) apply() {
	limit := limitFor(b.total, len(b.streams))
	if limit == b.limit {
		return
	}
	shrink := limit < b.limit
	b.limit = limit

	// gVisor reads the ranges whenever it tunes a buffer and for the window scale
	// of a new stream.
	first := min(firstBuffer, limit)
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: first, Max: limit}
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: first, Max: limit}
	b.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &rcv)
	b.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &snd)
	if !shrink {
		return
	}
	for c := range b.streams {
		// Without notification, which would end the automatic tuning.
		so := c.ep.SocketOptions()
		if so.GetReceiveBufferSize() > int64(limit) {
			so.SetReceiveBufferSize(int64(limit), false)
		}
		if so.GetSendBufferSize() > int64(limit) {
			so.SetSendBufferSize(int64(limit), false)
		}
	}
}
