package session

import (
	"encoding/binary"

	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Receive takes a run of packets from the route's last hop. See forward.Sink.
func (r *route) Receive(b *link.Burst, i, j int, _ *forward.Rule) {
	d := delivery{r: r, b: b, sc: r.s.m.scratch.get()}
	r.recvMu.Lock()
	for _, pkt := range b.Pkt[i:j] {
		d.packet(pkt)
	}
	d.flush()
	d.flushMux()
	d.muxReports()
	if d.authentic {
		r.lastHeard.Store(b.Now)
	}
	r.rx.Add(d.packets)
	r.rxBytes.Add(d.bytes)
	r.recvMu.Unlock()
	r.s.m.scratch.put(d.sc)
}

// A delivery is the work on one run. It gathers the payloads of one protocol that
// stand in a row, and hands them up together.
type delivery struct {
	r  *route
	b  *link.Burst
	sc *scratch

	proto uint8
	n     int // gathered in sc.payloads
	muxN  int // gathered in sc.muxInner

	keys  *recvState // of the last packet's phase
	phase uint8

	packets, bytes uint64 // data that was opened
	authentic      bool
}

func (d *delivery) drop(why DropReason) { d.r.s.m.drops.add(why) }

// packet sorts one route packet.
func (d *delivery) packet(pkt []byte) {
	h, body, ok := packet.ParseRoute(pkt)
	if !ok || h.Flags&^packet.PhaseMask != 0 {
		d.drop(DropMalformed)
		return
	}
	switch h.Kind {
	case packet.KindData, packet.KindProbe, packet.KindReply:
	case packet.KindSess:
		d.message(h, body)
		return
	case packet.KindClose:
		// Routes without a TTL are an operator's. What a hop forges here, it could have
		// by dropping all that it is to carry.
		if d.r.direct == nil && d.r.spec.TTL != 0 && h.Flags == 0 && len(body) == 1 {
			d.r.end(RouteClosed)
			return
		}
		d.drop(DropKind)
		return
	default:
		d.drop(DropKind)
		return
	}
	payload := body
	if d.r.direct == nil {
		if payload = d.open(h, pkt[4:8], body); payload == nil {
			return
		}
	} else if h.Flags != 0 {
		d.drop(DropMalformed)
		return
	}
	d.authentic = true
	switch h.Kind {
	case packet.KindData:
		d.packets++
		d.bytes += uint64(len(body))
		d.data(payload)
	case packet.KindProbe:
		if len(payload) < probeLen {
			d.drop(DropMalformed)
			return
		}
		d.r.answer(d.b.Tx, d.sc, binary.BigEndian.Uint64(payload), len(pkt))
	case packet.KindReply:
		d.reply(payload)
	}
}

// open opens a sealed body in place, or counts why not and returns nil.
func (d *delivery) open(h packet.RouteHeader, ad, body []byte) []byte {
	if d.keys == nil || d.phase != h.Flags {
		if !d.take(h.Flags) {
			return nil
		}
	}
	payload, why, ok := d.keys.open(body, ad, &d.sc.nonce)
	if !ok {
		d.drop(why)
		return nil
	}
	d.r.s.confirm(d.keys.epoch)
	return payload
}

// take makes the keys of a phase those of the next packets.
func (d *delivery) take(phase uint8) bool {
	ep := d.r.s.ring.Lookup(uint32(phase), ns(d.b.Now))
	if ep == nil {
		d.drop(DropNoKeys)
		return false
	}
	keys := d.r.recv[phase]
	if keys == nil || keys.epoch != ep {
		d.drop(DropUnbound)
		return false
	}
	d.keys, d.phase = keys, phase
	return true
}

// data gathers one payload, or handles it here if it is the session's own.
func (d *delivery) data(payload []byte) {
	if len(payload) == 0 {
		d.drop(DropMalformed)
		return
	}
	switch proto := payload[0]; proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, packet.ProtoIP:
		if proto != d.proto || d.n == len(d.sc.payloads) {
			d.flush()
			d.proto = proto
		}
		d.sc.payloads[d.n] = payload[1:]
		d.n++
	case packet.ProtoFragment:
		d.fragment(payload[1:])
	case packet.ProtoMux:
		d.mux(payload)
	case packet.ProtoMuxReport:
		d.muxReport(payload)
	case packet.ProtoControl:
		// Nothing in there needs an answer yet: an MTU is confirmed by replies.
	default:
		d.drop(DropProto)
	}
}

// flush hands up what has been gathered.
func (d *delivery) flush() {
	if d.n > 0 {
		d.r.s.m.upper.Deliver(d.r.s, d.proto, d.sc.payloads[:d.n])
		d.n = 0
	}
}

func (d *delivery) fragment(b []byte) {
	f, ok := parseFragment(b)
	if !ok {
		d.drop(DropMalformed)
		return
	}
	whole, ok := d.r.s.pieces.add(f, ns(d.b.Now))
	if !ok {
		d.drop(DropFragment)
		return
	}
	if whole == nil {
		return
	}
	switch whole[0] {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, packet.ProtoIP:
		d.flush()
		d.sc.one[0] = whole[1:]
		d.r.s.m.upper.Deliver(d.r.s, whole[0], d.sc.one[:])
		d.sc.one[0] = nil
	default: // fragments of fragments too
		d.drop(DropProto)
	}
}

// reply notes what the far end says in answer to a probe of ours.
func (d *delivery) reply(payload []byte) {
	a, ok := parseReply(payload)
	if !ok {
		d.drop(DropMalformed)
		return
	}
	r := d.r
	rtt := d.b.Now - int64(a.token^r.s.mask)
	if rtt < 0 || rtt > int64(maxRTTSample) {
		d.drop(DropMalformed) // no token of ours, or from another life
		return
	}
	r.lastRTT.Store(max(rtt, 1))
	r.peerPackets.Store(a.packets)
	r.peerRecv.Store(a.bytes)
	if d.b.Now-rtt == r.probeAt.Load() {
		r.echoed.Store(true)
	}
	raise(&r.confirmed, int32(a.size))
	r.replies.Add(1)
}

// message sorts a body of kind session. Handshakes are copied for the handshaker;
// binds are cheap and handled here.
func (d *delivery) message(h packet.RouteHeader, body []byte) {
	typ, rest, ok := parseMessage(body)
	if !ok {
		d.drop(DropMalformed)
		return
	}
	if typ == msgBind {
		d.bind(h.Flags, body)
		return
	}
	if h.Flags != 0 {
		d.drop(DropMalformed)
		return
	}
	now := ns(d.b.Now)
	if !d.r.handshakes.take(now, labelEvery, labelDepth) || !d.r.s.m.shaker.offer(d.b.From, now, job{r: d.r, typ: typ, msg: rest}) {
		d.drop(DropHandshakeBusy)
	}
}
