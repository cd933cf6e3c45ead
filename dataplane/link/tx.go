package link

import (
	"net/netip"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// A Tx is one sender's scratch: it gathers route packets for one link, seals them
// and sends them. Take one from the engine, use it from one goroutine, and put it
// back.
//
//	tx.Start(l)
//	for … {
//		p := tx.Packet(n) // fill all of p
//	}
//	err := tx.Flush()
type Tx struct {
	e     *Engine
	link  *Link
	buf   *packet.Buf // taken from the pool on the first Packet
	used  int         // bytes of buf
	count int         // frames in buf
	seg   int         // size of each frame in buf but the last, which may be shorter
	last  int         // size of the last frame
	limit int         // most bytes of one superpacket on this link
	most  int         // most frames

	nonce noise.Nonce
	out   *udpio.Writer
	// A worker's writer holds frames that lie in its receive batch until the
	// batch is done; everybody else's is flushed at once.
	batched bool
}

// GetTx takes a Tx from the pool. Its socket is one of the engine's in turn.
func (e *Engine) GetTx() *Tx { return e.txs.Get().(*Tx) }

// PutTx gives back a Tx that has been flushed.
func (e *Engine) PutTx(tx *Tx) {
	tx.drop()
	e.txs.Put(tx)
}

// newTx makes a Tx that sends on socket i modulo their number.
func (e *Engine) newTx(i int) *Tx {
	tx := &Tx{e: e}
	if e.udp != nil {
		tx.out = e.udp.Conn(i % e.udp.Len()).NewWriter()
		tx.out.OnDrop = e.sendDropped
	}
	return tx
}

// Start begins sending to l. What was not flushed before is dropped.
func (tx *Tx) Start(l *Link) {
	tx.drop()
	tx.link = l
	if l.typ == SUDPH {
		tx.limit, tx.most = udpio.MaxSendBytes, udpio.MaxSegments
	} else {
		tx.limit, tx.most = packet.BufCap, packet.BufCap
	}
}

// Packet returns the memory of the next route packet: n bytes, a multiple of
// packet.RouteAlign and at most the link's MTU. The caller writes every byte of
// it, padding included, before the next call. Packets of one size in a row leave
// as one superpacket, which the next one may end by being shorter.
//
// The memory is borrowed until the next call of a method of tx.
func (tx *Tx) Packet(n int) []byte {
	size := n + packet.FrameOverhead
	if tx.count > 0 && (size > tx.seg || tx.last < tx.seg || tx.used+size > tx.limit || tx.count == tx.most) {
		_ = tx.flush() // counted as drops; Flush reports the state at the end
	}
	if tx.buf == nil {
		tx.buf = packet.GetBuf()
	}
	if tx.count == 0 {
		tx.seg = size
	}
	at := tx.used + packet.FrameHeaderLen
	tx.used += size
	tx.count++
	tx.last = size
	return tx.buf.B[at : at+n : at+n]
}

// Flush seals and sends what has been gathered. ErrDown means that the link was
// down and the packets are gone; a link that is up but loses packets is no error.
func (tx *Tx) Flush() error {
	err := tx.flush()
	tx.drop() // an idle Tx holds no slab
	return err
}

func (tx *Tx) flush() error {
	if tx.count == 0 {
		return nil
	}
	l, n, used := tx.link, tx.count, tx.used
	tx.count, tx.used = 0, 0
	st := l.send.Load()
	if st == nil {
		l.txDrops.Add(uint64(n))
		return ErrDown
	}
	if st.stream != nil {
		buf := tx.buf
		tx.buf = nil
		st.stream.enqueue(l, item{buf: buf, used: used, seg: tx.seg, n: n})
		return nil
	}
	if !tx.seal(l, st, tx.buf.B[:used], tx.seg, n, tx.e.Now()) {
		l.txDrops.Add(uint64(n))
		return ErrDown
	}
	tx.out.Add(tx.buf.B[:used], tx.seg, st.addr)
	return tx.out.Flush() // the slab is used again
}

// drop forgets what was gathered.
func (tx *Tx) drop() {
	tx.count, tx.used = 0, 0
	if tx.buf != nil {
		tx.buf.Free()
		tx.buf = nil
	}
}

// seal writes the headers of n frames of seg bytes and seals them in place. It
// reports false if the key may not be used any more, or if so much may not be
// sent to an address that the peer has not proved to have.
func (tx *Tx) seal(l *Link, st *sendState, frames []byte, seg, n int, now int64) bool {
	if now >= st.until { // even if nobody has looked after the link
		return false
	}
	if st.path != nil && !st.path.allow(len(frames)) {
		return false
	}
	ep := st.epoch
	counter, err := ep.Send.Reserve(n)
	if err != nil {
		return false
	}
	for at := 0; at < len(frames); at += seg {
		f := frames[at:min(at+seg, len(frames))]
		packet.PutDataHeader(f, ep.Remote, counter)
		body := f[packet.FrameHeaderLen : len(f)-packet.TagLen]
		ep.Send.Seal(body[:0], body, f[:packet.FrameHeaderLen], &tx.nonce, 0, counter)
		counter++
	}
	l.txPackets.Add(uint64(n))
	l.txBytes.Add(uint64(len(frames) - n*packet.FrameOverhead))
	l.lastSend.Store(now)
	return true
}

// Forward sends b.Pkt[i:j], whose labels the caller has rewritten, out on l. From
// UDP to UDP the frames are sealed again where they lie and leave as they came, in
// one GSO send for each run of neighbours; otherwise the packets are copied. The
// packets are borrowed until the worker has finished its batch.
func (l *Link) Forward(tx *Tx, b *Burst, i, j int) error {
	st := l.send.Load()
	if st == nil {
		l.txDrops.Add(uint64(j - i))
		return ErrDown
	}
	if b.buf == nil || st.stream != nil {
		return l.forwardCopy(tx, b, i, j)
	}
	for i < j {
		end := b.run(i, j)
		frames := b.frames(i, end)
		if tx.seal(l, st, frames, b.seg, end-i, b.Now) {
			tx.out.Add(frames, min(b.seg, len(frames)), st.addr)
		} else {
			l.txDrops.Add(uint64(end - i))
		}
		i = end
	}
	if !tx.batched {
		return tx.out.Flush()
	}
	return nil
}

func (l *Link) forwardCopy(tx *Tx, b *Burst, i, j int) error {
	tx.Start(l)
	for _, p := range b.Pkt[i:j] {
		copy(tx.Packet(len(p)), p)
	}
	return tx.Flush()
}

// sendDropped hears from a writer that datagrams to an address did not leave. Where
// they were too big for the path, the timer looks into it: one address at a time,
// the next complaint is not far.
func (e *Engine) sendDropped(to netip.AddrPort, _ int, reason udpio.DropReason) {
	e.count(DropSend)
	if reason == udpio.DropTooBig && e.tooBig.Load() == nil {
		where := to // only now does it cost an allocation
		e.tooBig.Store(&where)
	}
}
