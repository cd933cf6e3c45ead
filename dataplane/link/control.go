package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/skyminer/skywire/dataplane/packet"
)

// Reasons in close messages, docs/wire.md section 4.2.
const (
	CloseShutdown = 1
	CloseRemoved  = 2
	CloseReplaced = 3
	CloseLimit    = 4
)

// routeErrorLen is the length of a route error's body (docs/wire.md section 4.3).
const routeErrorLen = 8

// isControl reports whether a route packet is for the link itself.
func isControl(pkt []byte) bool {
	return binary.BigEndian.Uint32(pkt) == uint32(packet.LabelLink)
}

// control acts on an authentic label 0 packet, which is borrowed. It runs on a
// packet worker or on a stream's reader.
func (l *Link) control(pkt []byte, from netip.AddrPort, now int64) {
	h, body, ok := packet.ParseRoute(pkt)
	if !ok || h.Flags != 0 {
		l.e.count(DropControl)
		return
	}
	switch h.Kind {
	case packet.KindProbe, packet.KindPathChallenge:
		if len(body) == 8 {
			reply := packet.KindReply
			if h.Kind == packet.KindPathChallenge {
				reply = packet.KindPathEcho
			}
			l.sendControl(reply, body)
			return
		}
	case packet.KindReply:
		if len(body) == 8 {
			l.probeReturned(binary.BigEndian.Uint64(body), now)
			return
		}
	case packet.KindPathEcho:
		if len(body) == 8 {
			l.pathEchoed(binary.BigEndian.Uint64(body), from)
			return
		}
	case packet.KindMTUProbe:
		if len(body) >= 2 && int(binary.BigEndian.Uint16(body)) == len(pkt) {
			l.sendControl(packet.KindMTUFound, body[:2])
			return
		}
	case packet.KindMTUFound:
		if len(body) == 2 {
			l.mtuFound(int(binary.BigEndian.Uint16(body)), now)
			return
		}
	case packet.KindError:
		if len(body) == routeErrorLen && body[1] == 0 {
			l.e.handler.RouteError(l, body[0], int(binary.BigEndian.Uint16(body[2:])), packet.Label(binary.BigEndian.Uint32(body[4:])))
			return
		}
	case packet.KindClose:
		if len(body) == 1 {
			if reason, st := body[0], l.send.Load(); l.closing.CompareAndSwap(false, true) {
				l.e.post(func() { l.closedByPeer(st, reason) })
			}
			return
		}
	}
	l.e.count(DropControl)
}

// sendControl sends one label 0 packet. Body is borrowed and at most a few
// hundred bytes, except for MTU probes.
func (l *Link) sendControl(kind packet.Kind, body []byte) {
	st := l.send.Load()
	if st == nil {
		return
	}
	n := packet.Padded(len(body))
	if st.stream != nil {
		pkt := make([]byte, n)
		putControl(pkt, kind, body)
		st.stream.sendControl(pkt)
		return
	}
	tx := l.e.GetTx()
	defer l.e.PutTx(tx)
	tx.Start(l)
	putControl(tx.Packet(n), kind, body)
	_ = tx.Flush() // lost control messages are repeated by their own timers
}

// putControl writes a label 0 packet over all of pkt.
func putControl(pkt []byte, kind packet.Kind, body []byte) {
	packet.RouteHeader{Kind: kind, Length: uint16(len(body))}.Put(pkt)
	n := copy(pkt[packet.RouteHeaderLen:], body)
	clear(pkt[packet.RouteHeaderLen+n:])
}

// SendRouteError tells the neighbour that a packet it sent under label was dropped
// (docs/wire.md section 4.3). At most routeErrorsPerSecond leave per link.
func (l *Link) SendRouteError(code uint8, mtu int, label packet.Label) {
	now := l.e.clock.Load()
	if prev := l.erred.Load(); prev != 0 && now-prev < second/routeErrorsPerSecond || !l.erred.CompareAndSwap(prev, now) {
		return
	}
	body := make([]byte, routeErrorLen)
	body[0] = code
	binary.BigEndian.PutUint16(body[2:], uint16(mtu))
	binary.BigEndian.PutUint32(body[4:], uint32(label))
	l.sendControl(packet.KindError, body)
}

const routeErrorsPerSecond = 50

// A link probe's token is a sequence number; the time it left stands beside it, so
// that a late reply to an older probe is ignored.
func (l *Link) sendProbe(now int64) {
	l.mu.Lock()
	l.state.probe++
	l.state.probeLast = now
	l.state.probeSent, l.state.probeNext, l.state.rttNext = now, now+probeAgain, now+rttEvery
	token := l.state.probe
	l.mu.Unlock()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], token)
	l.sendControl(packet.KindProbe, b[:])
}

// probeReturned takes a round-trip sample, smoothed as in RFC 6298 section 2.
func (l *Link) probeReturned(token uint64, now int64) {
	l.mu.Lock()
	l.state.check.passed(token)
	sent, current := l.state.probeSent, token == l.state.probe && l.state.probeSent != 0
	if current {
		l.state.probeSent = 0
	}
	l.mu.Unlock()
	if !current {
		return
	}
	sample := max(now-sent, 1)
	if old := l.rtt.Load(); old != 0 {
		sample = old + (sample-old)/8
	}
	l.rtt.Store(sample)
}
