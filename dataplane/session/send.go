package session

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// scratch is what one call of a sender or of Receive needs beside the stack:
// things that go through an interface and would escape.
type scratch struct {
	nonce    noise.Nonce
	payloads [link.MaxBurst][]byte
	muxInner [link.MaxBurst][]byte // what stands in mux packets
	muxSeq   [link.MaxBurst]uint32 // and their numbers
	one      [1][]byte
}

type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	if sc, ok := p.pool.Get().(*scratch); ok {
		return sc
	}
	return new(scratch)
}

func (p *scratchPool) put(sc *scratch) { p.pool.Put(sc) }

// Offsets in a TCP header (RFC 9293, section 3.1).
const (
	tcpSeq       = 4
	tcpFlags     = 13
	tcpMinHeader = 20
	tcpMaxHeader = 60

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80 // RFC 3168
)

// SendTCP sends a TCP segment, or a super-segment that it cuts into segments that
// fit the route, whatever MSS the two ends agreed on. hdr is the TCP header with
// options (20 to 60 bytes, checksum ignored), payload its data in pieces, up to
// 65,535 bytes together; both are borrowed for the call.
//
// It does not wait for the network and may be called concurrently; calls from one
// goroutine keep their order on a route.
//
// Errors: ErrNoRoute, ErrHeader, and link.ErrDown or noise.ErrExhausted, which mean
// that the data is lost as any packet may be lost.
func (s *Session) SendTCP(hdr []byte, payload [][]byte) error {
	if len(hdr) < tcpMinHeader || len(hdr) > tcpMaxHeader {
		return fmt.Errorf("%w: TCP header of %d bytes", ErrHeader, len(hdr))
	}
	total := 0
	for _, p := range payload {
		total += len(p)
	}
	r, l := s.pick(hdr)
	if l == nil {
		return s.noRoute()
	}
	if y := s.spray.Load(); y != nil {
		if total > 0 && y.sendTCP(hdr, payload, total) {
			return nil
		}
		// What carries no data need not wait, nor stay in order with what does.
		if q := y.quickest(); q != nil {
			if ql := q.link(); ql != nil {
				r, l = q, ql
			}
		}
	}
	tx, sc := s.m.links.GetTx(), s.m.scratch.get()
	err := r.sendTCP(tx, l, sc, hdr, payload, total)
	s.m.scratch.put(sc)
	s.m.links.PutTx(tx)
	if err != nil {
		s.m.drops.add(DropSend)
	}
	return err
}

func (r *route) sendTCP(tx *link.Tx, l *link.Link, sc *scratch, hdr []byte, payload [][]byte, total int) error {
	e, ok := r.encoder(tx, l, sc)
	if !ok {
		return ErrNoRoute // the keys ran out since pick
	}
	most := e.room(r.packetMTU(l)) - 1 - len(hdr) // data bytes of a full packet
	n := max(1, (total+most-1)/most)
	if err := e.reserve(n); err != nil {
		return err
	}
	seq := binary.BigEndian.Uint32(hdr[tcpSeq:])
	data := cursor{pieces: payload}
	for i, sent := 0, 0; i < n; i++ {
		size := min(most, total-sent)
		p := e.begin(1 + len(hdr) + size)
		p[0] = packet.ProtoTCP
		th := p[1 : 1+len(hdr)]
		copy(th, hdr)
		binary.BigEndian.PutUint32(th[tcpSeq:], seq+uint32(sent))
		if i < n-1 {
			th[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			th[tcpFlags] &^= tcpCWR
		}
		data.read(p[1+len(hdr):])
		e.end(packet.KindData)
		sent += size
	}
	r.tx.Add(uint64(n))
	r.txBytes.Add(uint64(total + n*(1+len(hdr)+e.overhead())))
	return tx.Flush()
}

// A cursor reads through pieces.
type cursor struct {
	pieces [][]byte
	at     int // in pieces[0]
}

// read fills b; the pieces hold enough.
func (c *cursor) read(b []byte) {
	for len(b) > 0 {
		n := copy(b, c.pieces[0][c.at:])
		b, c.at = b[n:], c.at+n
		if c.at == len(c.pieces[0]) {
			c.pieces, c.at = c.pieces[1:], 0
		}
	}
}

// MaxPacket is the largest payload of SendPacket, hdr and payload together: what a
// fragment's total can say, less the proto.
const MaxPacket = 1<<16 - 2

// SendPacket sends one payload of another protocol: hdr and payload in a row, after
// the proto byte (docs/wire.md section 5.3). What does not fit the route goes in
// fragments. Borrowing, concurrency and errors as SendTCP; ErrTooBig above
// MaxPacket.
func (s *Session) SendPacket(proto uint8, hdr, payload []byte) error {
	size := 1 + len(hdr) + len(payload)
	if size > MaxPacket+1 {
		s.m.drops.add(DropTooBig)
		return fmt.Errorf("%w: %d bytes", ErrTooBig, size-1)
	}
	r, l := s.pick(hdr)
	if l == nil {
		return s.noRoute()
	}
	tx, sc := s.m.links.GetTx(), s.m.scratch.get()
	err := r.sendPacket(tx, l, sc, proto, hdr, payload, size)
	s.m.scratch.put(sc)
	s.m.links.PutTx(tx)
	if err != nil {
		s.m.drops.add(DropSend)
	}
	return err
}

func (r *route) sendPacket(tx *link.Tx, l *link.Link, sc *scratch, proto uint8, hdr, payload []byte, size int) error {
	e, ok := r.encoder(tx, l, sc)
	if !ok {
		return ErrNoRoute
	}
	room := e.room(r.packetMTU(l))
	if size > room {
		return r.sendFragments(&e, room, proto, hdr, payload, size)
	}
	if err := e.reserve(1); err != nil {
		return err
	}
	p := e.begin(size)
	p[0] = proto
	copy(p[1+copy(p[1:], hdr):], payload)
	e.end(packet.KindData)
	r.tx.Add(1)
	r.txBytes.Add(uint64(size + e.overhead()))
	return tx.Flush()
}

// sendFragments sends proto, hdr and payload, size bytes together, in pieces.
func (r *route) sendFragments(e *encoder, room int, proto uint8, hdr, payload []byte, size int) error {
	most := room - 1 - fragHeaderLen
	n := (size + most - 1) / most
	if err := e.reserve(n); err != nil {
		return err
	}
	f := fragment{id: r.s.fragments.Add(1), total: uint16(size)}
	head := [1]byte{proto}
	data := cursor{pieces: [][]byte{head[:], hdr, payload}}
	for off := 0; off < size; off += most {
		m := min(most, size-off)
		f.offset = uint16(off)
		p := e.begin(1 + fragHeaderLen + m)
		p[0] = packet.ProtoFragment
		f.putHeader(p[1:])
		data.read(p[1+fragHeaderLen:])
		e.end(packet.KindData)
	}
	r.tx.Add(uint64(n))
	r.txBytes.Add(uint64(size + n*(1+fragHeaderLen+e.overhead())))
	return e.tx.Flush()
}

// sendProbe sends a probe whose route packet is size bytes, or the smallest for 0.
// Its token says when it left, in a way that only we can read.
func (r *route) sendProbe(tx *link.Tx, sc *scratch, now int64, size int) {
	l := r.link()
	if l == nil {
		return
	}
	e, ok := r.encoder(tx, l, sc)
	if !ok || e.reserve(1) != nil {
		return
	}
	p := e.begin(max(probeLen, e.room(size)))
	clear(p)
	binary.BigEndian.PutUint64(p, uint64(now)^r.s.mask)
	e.end(packet.KindProbe)
	r.probeTx.Store(r.tx.Load())
	r.probeAt.Store(now)
	_ = tx.Flush() // a lost probe is what probes are for
}

// answer sends the reply to a probe of size bytes back on the route.
func (r *route) answer(tx *link.Tx, sc *scratch, token uint64, size int) {
	l := r.link()
	if l == nil {
		return
	}
	e, ok := r.encoder(tx, l, sc)
	if !ok || e.reserve(1) != nil {
		return
	}
	p := e.begin(replyLen)
	reply{token: token, packets: r.rx.Load(), bytes: r.rxBytes.Load(), size: uint16(size)}.put(p)
	e.end(packet.KindReply)
	_ = tx.Flush()
}

// sendMessage sends body as kind session, which has its own sealing.
func (r *route) sendMessage(tx *link.Tx, flags uint8, body []byte) {
	l := r.link()
	if l == nil {
		return
	}
	tx.Start(l)
	p := tx.Packet(packet.Padded(len(body)))
	packet.RouteHeader{Label: r.label(l), Kind: packet.KindSess, Flags: flags, Length: uint16(len(body))}.Put(p)
	clear(p[packet.RouteHeaderLen+copy(p[packet.RouteHeaderLen:], body):])
	_ = tx.Flush() // handshakes and binds are repeated
}
