package session

import (
	"encoding/binary"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Messages of kind session, docs/wire.md section 5.1.
const (
	msgInit     = 1
	msgResponse = 2
	msgBind     = 3

	msgHeaderLen  = 4
	bindHeaderLen = 16 // up to the sealed part
	bindADLen     = 8

	// maxMessage bounds what a handshake job copies: a KK message is 33 bytes, two
	// tags and TLVs; the rest is room for future ones.
	maxMessage = 1024
)

// tlvWant is empty and stands in a bind whose sender has not got its own route id
// back yet: the receiver answers with a bind.
const tlvWant uint8 = 10

func appendMessageHeader(b []byte, typ uint8) []byte { return append(b, typ, packet.Version, 0, 0) }

// parseMessage splits a body of kind session. rest aliases body.
func parseMessage(body []byte) (typ uint8, rest []byte, ok bool) {
	if len(body) < msgHeaderLen || len(body) > maxMessage || body[1] != packet.Version || body[2]|body[3] != 0 {
		return 0, nil, false
	}
	switch typ = body[0]; typ {
	case msgInit, msgResponse:
	case msgBind:
		if len(body) < bindHeaderLen+noise.TagLen {
			return 0, nil, false
		}
	default:
		return 0, nil, false
	}
	return typ, body[msgHeaderLen:], true
}

// hello is what the TLVs of a handshake message or a bind say. Absent ones are 0.
type hello struct {
	timestamp uint64
	route     uint32
	inUse     uint8
	phase     uint8
	bound     uint32
	want      bool
}

// errTLV says that a TLV has the wrong length or value.
type errTLV uint8

func (e errTLV) Error() string { return "session: bad TLV in handshake" }

func parseHello(b []byte) (h hello, err error) {
	err = noise.WalkTLVs(b, func(typ uint8, v []byte) error {
		if n := tlvLen(typ); n >= 0 && len(v) != n {
			return errTLV(typ)
		}
		switch typ {
		case packet.TLVTimestamp:
			h.timestamp = binary.BigEndian.Uint64(v)
		case packet.TLVRouteID:
			h.route = binary.BigEndian.Uint32(v)
		case packet.TLVPhasesInUse:
			h.inUse = v[0]
		case packet.TLVPhase:
			if v[0] > packet.PhaseMask {
				return errTLV(typ)
			}
			h.phase = v[0]
		case packet.TLVBound:
			h.bound = binary.BigEndian.Uint32(v)
		case tlvWant:
			h.want = true
		}
		return nil
	})
	return h, err
}

// tlvLen returns the length that the value of a known TLV has, or -1.
func tlvLen(typ uint8) int {
	switch typ {
	case packet.TLVTimestamp:
		return 8
	case packet.TLVRouteID, packet.TLVBound:
		return 4
	case packet.TLVPhasesInUse, packet.TLVPhase:
		return 1
	case tlvWant:
		return 0
	}
	return -1
}

func appendTLV32(b []byte, typ uint8, v uint32) []byte {
	var buf [4]byte
	binary.BigEndian.PutUint32(buf[:], v)
	return noise.AppendTLV(b, typ, buf[:])
}

func appendInitTLVs(b []byte, timestamp uint64, route uint32, inUse uint8) []byte {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], timestamp)
	b = noise.AppendTLV(b, packet.TLVTimestamp, buf[:])
	b = appendTLV32(b, packet.TLVRouteID, route)
	return noise.AppendTLV(b, packet.TLVPhasesInUse, []byte{inUse})
}

func appendResponseTLVs(b []byte, route uint32, phase uint8) []byte {
	b = appendTLV32(b, packet.TLVRouteID, route)
	return noise.AppendTLV(b, packet.TLVPhase, []byte{phase})
}

func appendBindTLVs(b []byte, bound uint32, want bool) []byte {
	b = appendTLV32(b, packet.TLVBound, bound)
	if want {
		b = noise.AppendTLV(b, tlvWant, nil)
	}
	return b
}

// Probes and replies, docs/wire.md section 5.4.
const (
	probeLen = 8
	replyLen = 26
)

// A reply says what has arrived at the far end of a route.
type reply struct {
	token   uint64
	packets uint64 // data packets
	bytes   uint64 // their bodies
	size    uint16 // of the probe's route packet
}

func (r reply) put(b []byte) {
	_ = b[replyLen-1]
	binary.BigEndian.PutUint64(b, r.token)
	binary.BigEndian.PutUint64(b[8:], r.packets)
	binary.BigEndian.PutUint64(b[16:], r.bytes)
	binary.BigEndian.PutUint16(b[24:], r.size)
}

func parseReply(b []byte) (r reply, ok bool) {
	if len(b) != replyLen {
		return reply{}, false
	}
	return reply{
		token:   binary.BigEndian.Uint64(b),
		packets: binary.BigEndian.Uint64(b[8:]),
		bytes:   binary.BigEndian.Uint64(b[16:]),
		size:    binary.BigEndian.Uint16(b[24:]),
	}, true
}

// fragHeaderLen is the length of a fragment's header after its proto.
const fragHeaderLen = 8

// A fragment is a piece of a payload; the payload begins with its own proto.
type fragment struct {
	id     uint32
	offset uint16
	total  uint16
	piece  []byte
}

// parseFragment reads what follows proto 4. piece aliases b.
func parseFragment(b []byte) (f fragment, ok bool) {
	if len(b) <= fragHeaderLen {
		return fragment{}, false
	}
	f = fragment{
		id:     binary.BigEndian.Uint32(b),
		offset: binary.BigEndian.Uint16(b[4:]),
		total:  binary.BigEndian.Uint16(b[6:]),
		piece:  b[fragHeaderLen:],
	}
	if f.total < 2 || int(f.offset)+len(f.piece) > int(f.total) {
		return fragment{}, false
	}
	return f, true
}

func (f fragment) putHeader(b []byte) {
	_ = b[fragHeaderLen-1]
	binary.BigEndian.PutUint32(b, f.id)
	binary.BigEndian.PutUint16(b[4:], f.offset)
	binary.BigEndian.PutUint16(b[6:], f.total)
}
