package link

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// A worker owns one UDP socket and every receive key whose index names it. It
// runs each batch from the socket to completion: open, forward or deliver, send.
type worker struct {
	e    *Engine
	id   int
	conn *udpio.Conn

	// mu is held while packets are opened: by this worker for a whole batch, or by
	// another that found a stray of ours in its own: once per batch, and as a rule
	// nobody else wants it.
	mu    sync.Mutex
	tx    *Tx
	nonce noise.Nonce
	burst Burst

	strays []stray
	hints  *udpio.Writer // answers to strangers
}

// A stray is a frame of another worker's link that came to this socket: with no
// steering in the kernel, or inside a GRO buffer whose first frame was ours.
type stray struct {
	owner int
	from  netip.AddrPort
	buf   *packet.Small
	n     int
}

// maxStrays bounds the copies that one batch can make.
const maxStrays = 256

func newWorker(e *Engine, id int) *worker {
	w := &worker{e: e, id: id, conn: e.udp.Conn(id), tx: e.newTx(id)}
	w.tx.batched = true
	w.burst.Tx = w.tx
	w.hints = w.conn.NewWriter()
	return w
}

// run reads until the socket is closed.
func (w *worker) run() error {
	batch := udpio.NewBatch()
	for {
		if err := w.conn.ReadBatch(batch); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		now := w.e.tick()
		w.mu.Lock()
		for i := range batch.N {
			w.superpacket(&batch.Pkts[i], now, true)
		}
		_ = w.tx.out.Flush()
		_ = w.hints.Flush()
		w.mu.Unlock()
		if len(w.strays) > 0 {
			w.passStrays(now)
		}
	}
}

// superpacket opens the frames of p and hands runs of one link to the handler.
// own tells that p lies in this worker's batch, so that frames of others in it
// have yet to be passed on.
func (w *worker) superpacket(p *udpio.Superpacket, now int64, own bool) {
	b := &w.burst
	b.reset(p.Data, p.Seg)
	b.Now = now
	var k *rxKey
	var fresh uint64 // highest counter opened in the current run, plus one
	opened := 0      // bytes of frames opened in the current run
	frame := 0
	for at := 0; at < len(p.Data); at, frame = at+p.Seg, frame+1 {
		end := min(at+p.Seg, len(p.Data))
		f := p.Data[at:end:end]
		index, counter, ok := packet.ParseDataHeader(f)
		if !ok {
			w.notData(f, p.From, now)
			continue
		}
		if k == nil || k.index != index || b.N == MaxBurst {
			w.deliver(k, p.From, fresh, opened)
			fresh, opened = 0, 0
			if owner := udpio.Owner(index, w.e.udp.Len()); owner != w.id {
				w.keepStray(owner, f, p.From, own)
				k = nil
				continue
			}
			if k = w.e.lookup(index); k == nil {
				w.unknownIndex(index, p.From, now)
				continue
			}
		}
		pkt, why := k.open(&w.nonce, f, counter)
		if pkt == nil {
			w.e.count(why)
			continue
		}
		fresh = max(fresh, counter+1)
		opened += len(f)
		if !k.confirmed { // before anything wants to answer
			k.confirmed = true
			k.link.confirm(k, now)
		}
		if len(pkt)%packet.RouteAlign != 0 {
			w.e.count(DropMalformed)
			continue
		}
		if isControl(pkt) {
			k.link.rxPackets.Add(1)
			k.link.control(pkt, p.From, now)
			continue
		}
		b.Pkt[b.N] = pkt
		b.frame[b.N] = uint16(frame)
		b.N++
	}
	w.deliver(k, p.From, fresh, opened)
}

// deliver ends a run of frames opened under k: the link notes that it is alive and
// where, and the handler gets the packets. fresh is the highest counter plus one,
// or 0 if nothing was opened.
func (w *worker) deliver(k *rxKey, from netip.AddrPort, fresh uint64, opened int) {
	b := &w.burst
	if k == nil || fresh == 0 {
		b.N = 0
		return
	}
	k.link.received(k, from, fresh, opened, b.Now)
	if b.N == 0 {
		return
	}
	var bytes int
	for _, p := range b.Pkt[:b.N] {
		bytes += len(p)
	}
	k.link.rxPackets.Add(uint64(b.N))
	k.link.rxBytes.Add(uint64(bytes))
	b.From = k.link
	w.e.handler.HandleBurst(b)
	b.N = 0
}

// notData sorts what is no data frame: handshakes go to their goroutine, STUN to
// whoever shares the socket.
func (w *worker) notData(f []byte, from netip.AddrPort, now int64) {
	switch {
	case len(f) == 0:
		w.e.count(DropMalformed)
	case packet.FrameType(f[0]) >= packet.FrameFirst:
		w.handshake(f, from, now)
	case f[0] <= lastSTUNByte && w.e.cfg.STUN != nil:
		w.e.cfg.STUN(f, from)
	default:
		w.e.count(DropForeign)
	}
}

// keepStray copies a frame for its owner. A stray that was already passed on once
// is dropped: the index then names a worker that does not exist.
func (w *worker) keepStray(owner int, f []byte, from netip.AddrPort, own bool) {
	if !own || len(w.strays) == maxStrays || len(f) > packet.SmallCap {
		w.e.count(DropStray)
		return
	}
	s := stray{owner: owner, from: from, buf: packet.GetSmall()}
	s.n = copy(s.buf.B[:], f)
	w.strays = append(w.strays, s)
}

// passStrays opens the strays of the last batch with their owners' state.
func (w *worker) passStrays(now int64) {
	for _, s := range w.strays {
		o := w.e.workers[s.owner]
		o.mu.Lock()
		p := udpio.Superpacket{Data: s.buf.B[:s.n:s.n], Seg: s.n, From: s.from}
		o.superpacket(&p, now, false)
		_ = o.tx.out.Flush() // the stray's memory goes back to its pool
		_ = o.hints.Flush()
		o.mu.Unlock()
		s.buf.Free()
	}
	w.strays = w.strays[:0]
}
