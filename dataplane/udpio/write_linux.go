package udpio

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// txSlots is how many messages one sendmmsg(2) takes. A queue of superpackets needs
// no more than WriterSlots; without segmentation it is sent in several rounds.
const txSlots = WriterSlots

// txScratch is what sendmmsg(2) needs beside the data. The pointers inside lead to
// the same Writer, which never moves.
type txScratch struct {
	msgs  [txSlots]unix.Mmsghdr
	runs  [txSlots]run
	iovs  [txSlots]unix.Iovec
	names [txSlots]sockaddr
	ctl   [txSlots][cmsgSpace]byte
	nmsg  int // msgs[:nmsg] are made
	niov  int // iovs[:niov] belong to them
	dirty int // iovs[:dirty] may still point to data of this Flush

	send  func(fd uintptr) // tx.sendmmsg, bound once so that calls allocate nothing
	wait  func(fd uintptr) // tx.poll
	first int              // in: the first message to send
	sent  int              // out: how many were sent
	errno unix.Errno       // out: why not more
	pfd   [1]unix.PollFd
	ms    int // in: how long poll waits, milliseconds
}

// A cursor is a place in the queue: an entry and an offset in its data.
type cursor struct{ ent, off int }

// A run is the part of the queue that one message sends.
type run struct {
	from, next       cursor
	datagrams, bytes int
}

func (tx *txScratch) init(*Writer) {
	for i := range tx.msgs {
		putSegmentHeader(&tx.ctl[i])
		tx.msgs[i].Hdr.Name = &tx.names[i][0]
	}
	tx.send, tx.wait = tx.sendmmsg, tx.poll
}

// sendmmsg sends msgs[first:nmsg]. The kernel stops at a message that it cannot
// send and reports the error only if that was the first one.
func (tx *txScratch) sendmmsg(fd uintptr) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&tx.msgs[tx.first])),
		uintptr(tx.nmsg-tx.first), unix.MSG_DONTWAIT, 0, 0)
	tx.sent, tx.errno = int(n), errno
	if errno != 0 {
		tx.sent = 0
	}
}

// poll waits until the socket buffer has room or ms milliseconds have passed.
func (tx *txScratch) poll(fd uintptr) {
	tx.pfd[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	// The outcome does not matter: the next sendmmsg tells.
	_, _ = unix.Poll(tx.pfd[:], tx.ms)
}

// flushNative is Flush by sendmmsg(2).
func (w *Writer) flushNative() error {
	err := w.sendQueue()
	clear(w.tx.iovs[:w.tx.dirty]) // do not keep the caller's memory alive
	w.tx.dirty = 0
	return err
}

// sendQueue fills the messages from a cursor and sends them; where the kernel refuses
// a run, it moves the cursor back to it and fills again without segmentation.
func (w *Writer) sendQueue() error {
	var (
		tx    = &w.tx
		at    cursor
		solo  int       // entries before this one go datagram by datagram
		trial bool      // the next message tells whether segmentation was at fault
		until time.Time // when to give up waiting for room
	)
	for at.ent < w.n {
		at = w.fill(at, solo)
	send:
		for tx.first = 0; tx.first < tx.nmsg; {
			// Control takes a reference on the descriptor and no lock, unlike Write:
			// Writers do not wait for each other, and Close waits for them.
			if err := w.conn.raw.Control(tx.send); err != nil {
				return fmt.Errorf("udpio: write: %w", err)
			}
			w.tally()
			if tx.sent > 0 {
				if trial {
					w.disableGSO(unix.EINVAL)
				}
				trial = false
				continue
			}
			r := &tx.runs[tx.first]
			switch verdict(tx.errno, r.datagrams > 1) {
			case again:
			case waitForRoom:
				if until.IsZero() {
					until = time.Now().Add(SendWait)
				}
				left := time.Until(until)
				if left <= 0 {
					w.dropFrom(r.from, DropSendTimeout)
					return nil
				}
				tx.ms = int(left.Milliseconds()) + 1
				if err := w.conn.raw.Control(tx.wait); err != nil {
					return fmt.Errorf("udpio: write: %w", err)
				}
			case segmentNever:
				w.disableGSO(tx.errno)
				at = r.from
				break send
			case segmentNot:
				trial = tx.errno == unix.EINVAL
				at, solo = r.from, r.next.ent
				break send
			case skip:
				trial = false
				w.dropRun(r, dropReason(tx.errno))
				tx.first++
			case dead:
				return fmt.Errorf("udpio: sendmmsg: %w", tx.errno)
			}
		}
	}
	return nil
}

// A fate is what becomes of a message that sendmmsg refused.
type fate uint8

const (
	again        fate = iota // interrupted
	waitForRoom              // socket buffer full
	segmentNot               // send this run one by one
	segmentNever             // the same for all from now on
	skip                     // drop it and go on
	dead                     // the socket is of no use
)

// verdict decides by errno (udp(7), net/ipv4/udp.c udp_send_skb). EIO: the device
// cannot checksum or the route transforms packets, so it cannot segment. EINVAL and
// EMSGSIZE: a datagram of the run is larger than the MTU (which of the two depends
// on the kernel's age), or, EINVAL only, the socket refuses segmentation. Sending
// the run one by one tells them apart and saves the datagrams that do fit.
func verdict(errno unix.Errno, segmented bool) fate {
	switch errno {
	case unix.EINTR:
		return again
	case unix.EAGAIN:
		return waitForRoom
	case unix.EIO:
		if segmented {
			return segmentNever
		}
	case unix.EINVAL, unix.EMSGSIZE:
		if segmented {
			return segmentNot
		}
	case unix.EBADF, unix.ENOTSOCK, unix.EFAULT:
		return dead
	}
	return skip
}

// disableGSO switches segmentation off for this Conn, for good.
func (w *Writer) disableGSO(errno unix.Errno) {
	if w.conn.gso.Swap(false) {
		w.conn.log.Warn().Err(errno).Msg("the kernel refuses UDP segmentation offload: going on without")
	}
}

// tally counts what sendmmsg sent and moves on behind it.
func (w *Writer) tally() {
	tx := &w.tx
	for i := range tx.runs[tx.first : tx.first+tx.sent] {
		r := &tx.runs[tx.first+i]
		w.sent.datagrams += r.datagrams
		w.sent.bytes += r.bytes
	}
	w.sent.batches++
	tx.first += tx.sent
}

// dropRun counts one run as lost.
func (w *Writer) dropRun(r *run, reason DropReason) {
	if r.datagrams == 1 && r.next.ent == r.from.ent { // one of several in its entry
		e := &w.queue[r.from.ent]
		one := e.data[r.from.off : r.from.off+r.bytes]
		w.drop(&entry{one, len(one), e.to}, 0, reason)
		return
	}
	for at := r.from; at.ent < r.next.ent; at = (cursor{at.ent + 1, 0}) {
		w.drop(&w.queue[at.ent], at.off, reason)
	}
}

// dropFrom counts everything from a cursor on as lost.
func (w *Writer) dropFrom(at cursor, reason DropReason) {
	for ; at.ent < w.n; at = (cursor{at.ent + 1, 0}) {
		w.drop(&w.queue[at.ent], at.off, reason)
	}
}

// fill makes messages of the queue from a cursor on, as many as there is room for,
// and returns the cursor behind them. Entries before solo are not segmented.
func (w *Writer) fill(at cursor, solo int) cursor {
	tx := &w.tx
	gso := w.conn.gso.Load()
	tx.nmsg, tx.niov = 0, 0
	for at.ent < w.n && tx.nmsg < txSlots && tx.niov < txSlots {
		e, iov := &w.queue[at.ent], tx.niov
		r := &tx.runs[tx.nmsg]
		if gso && at.ent >= solo {
			*r = w.takeRun(at)
		} else {
			*r = w.takeOne(at)
		}
		h := &tx.msgs[tx.nmsg].Hdr
		h.Namelen = tx.names[tx.nmsg].put(e.to, w.conn.v4only)
		h.Iov = &tx.iovs[iov]
		h.SetIovlen(tx.niov - iov)
		h.Control = nil
		h.SetControllen(0)
		if r.datagrams > 1 {
			putSegmentSize(&tx.ctl[tx.nmsg], e.seg)
			h.Control = &tx.ctl[tx.nmsg][0]
			h.SetControllen(cmsgSpace)
		}
		tx.nmsg++
		at = r.next
	}
	return at
}

// takeOne takes the datagram at the cursor.
func (w *Writer) takeOne(at cursor) run {
	e := &w.queue[at.ent]
	end := min(at.off+e.seg, len(e.data))
	w.tx.addIovec(e.data[at.off:end])
	r := run{from: at, next: cursor{at.ent, end}, datagrams: 1, bytes: end - at.off}
	if end == len(e.data) {
		r.next = cursor{at.ent + 1, 0}
	}
	return r
}

// takeRun takes the rest of the entry at the cursor and the entries behind it that
// can go in the same message: same address, and the datagrams still all of one
// size but the last.
func (w *Writer) takeRun(at cursor) run {
	e := &w.queue[at.ent]
	r := run{from: at, next: cursor{at.ent + 1, 0}, datagrams: e.datagrams(at.off), bytes: len(e.data) - at.off}
	w.tx.addIovec(e.data[at.off:])
	for r.next.ent < w.n && w.tx.niov < txSlots {
		f := &w.queue[r.next.ent]
		lone := f.seg == len(f.data)
		if r.bytes%e.seg != 0 || f.seg > e.seg || f.seg < e.seg && !lone || f.to != e.to ||
			r.bytes+len(f.data) > MaxSendBytes || r.datagrams+f.datagrams(0) > MaxSegments {
			break
		}
		w.tx.addIovec(f.data)
		r.datagrams += f.datagrams(0)
		r.bytes += len(f.data)
		r.next.ent++
	}
	return r
}

// addIovec adds data to the message that is being made.
func (tx *txScratch) addIovec(data []byte) {
	v := &tx.iovs[tx.niov]
	v.Base = &data[0]
	v.SetLen(len(data))
	tx.niov++
	tx.dirty = max(tx.dirty, tx.niov)
}
