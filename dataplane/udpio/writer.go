package udpio

import (
	"net/netip"
	"time"
)

const (
	// WriterSlots is how many superpackets a [Writer] holds before it flushes
	// itself.
	WriterSlots = 64

	// MaxSegments is the most datagrams in one superpacket on its way out:
	// UDP_MAX_SEGMENTS in include/linux/udp.h, which newer kernels have raised
	// to 128.
	MaxSegments = 64

	// MaxSendBytes is the most bytes in one superpacket on its way out: 65,535
	// in the IP length field, less 40 for an IPv6 header and 8 for UDP.
	MaxSendBytes = 1<<16 - 1 - 40 - 8

	// SendWait is how long one Flush waits, in all, for a full socket buffer to
	// drain before it drops what is left. It is long for a queue in front of a
	// network card (4 MiB leave in 34 ms at 1 Gbit/s, and half of it is enough
	// to go on) and short for the streams above, which see the loss and slow down.
	SendWait = 20 * time.Millisecond
)

// A Writer is one sender's scratch for a [Conn]: queue superpackets with Add,
// send them with Flush. Many Writers share a Conn without waiting for each other;
// one goroutine uses a Writer. It takes about 16 KiB.
type Writer struct {
	// OnDrop, if not nil, hears of every run of datagrams that is not sent: where
	// it was going, the size of its datagrams in bytes and why. It runs inside
	// Flush and Add, must not block and must not use the Writer. A link lowers its
	// MTU on DropTooBig.
	OnDrop func(to netip.AddrPort, size int, reason DropReason)

	conn  *Conn
	queue [WriterSlots]entry
	n     int // queue[:n] waits
	sent  tally
	tx    txScratch
}

// An entry is one queued superpacket: at most MaxSegments datagrams, and at most
// MaxSendBytes bytes unless it is a lone datagram.
type entry struct {
	data []byte
	seg  int
	to   netip.AddrPort
}

// datagrams returns how many datagrams stand behind the first off bytes.
func (e *entry) datagrams(off int) int { return (len(e.data) - off + e.seg - 1) / e.seg }

// A tally counts what one Flush sent.
type tally struct{ datagrams, bytes, batches int }

// NewWriter returns an empty Writer that sends from c.
func (c *Conn) NewWriter() *Writer {
	w := &Writer{conn: c}
	w.tx.init(w)
	return w
}

// Add queues the datagrams in data, each seg bytes long but the last, which may
// be shorter; with seg < 1 or seg > len(data) all of data is one datagram. Empty
// data is ignored. Runs longer than MaxSegments or MaxSendBytes are cut in pieces,
// and consecutive ones for one address are joined where the kernel can take
// them as one, so it costs nothing to Add datagram by datagram. A full Writer
// flushes itself.
//
// Ownership: data is borrowed until the next Flush returns and is not changed.
func (w *Writer) Add(data []byte, seg int, to netip.AddrPort) {
	if len(data) == 0 {
		return
	}
	if seg < 1 || seg > len(data) {
		seg = len(data)
	}
	if !to.IsValid() || to.Port() == 0 || w.conn.v4only && !to.Addr().Unmap().Is4() {
		w.drop(&entry{data, seg, to}, 0, DropBadAddress)
		return
	}
	piece := seg * max(1, min(MaxSegments, MaxSendBytes/seg))
	for len(data) > 0 {
		if w.n == WriterSlots {
			_ = w.Flush() // an error is for good, so the caller's own Flush meets it too
		}
		k := min(piece, len(data))
		w.queue[w.n] = entry{data[:k:k], min(seg, k), to}
		w.n++
		data = data[k:]
	}
}

// Flush sends what is queued and ends the loan of all data. Datagrams leave in
// the order of Add for each address.
//
// A datagram that cannot be sent costs only itself: it is counted by reason, told
// to OnDrop, and is no error. If the socket buffer is full Flush waits, SendWait
// at the most, then drops the rest (the portable form waits for as long as it
// takes). If the kernel refuses to segment, Flush sends that run one by one, and
// once it is clear that segmenting as such is at fault, the Conn does without
// from then on.
//
// Errors: net.ErrClosed (wrapped) after Close; any other means that the socket
// is of no more use. What was queued is gone in both cases.
func (w *Writer) Flush() (err error) {
	if w.n == 0 {
		return nil
	}
	w.sent = tally{}
	if w.conn.portable {
		err = w.flushPortable()
	} else {
		err = w.flushNative()
	}
	w.conn.tx.add(w.sent.datagrams, w.sent.bytes, w.sent.batches)
	clear(w.queue[:w.n]) // do not keep the caller's memory alive
	w.n = 0
	return err
}

// drop counts the datagrams of e behind the first off bytes as lost.
func (w *Writer) drop(e *entry, off int, r DropReason) {
	w.conn.drop(r, e.datagrams(off))
	if w.OnDrop != nil {
		w.OnDrop(e.to, min(e.seg, len(e.data)-off), r)
	}
}
