package packet

import "encoding/binary"

// Version is the protocol version in every handshake message (docs/wire.md).
const Version = 1

// A FrameType is the first byte of a datagram on a link.
type FrameType uint8

// Frame types, docs/wire.md section 2. Smaller first bytes are not ours: STUN
// is 0..3, TURN channels are 0x40..0x4f (RFC 7983).
const (
	FrameData         FrameType = 0x50
	FrameInitiation   FrameType = 0x51
	FrameResponse     FrameType = 0x52
	FrameCookie       FrameType = 0x53
	FrameUnknownIndex FrameType = 0x54
	FrameFirst                  = FrameData
)

// Sizes of a frame's parts in bytes.
const (
	FrameHeaderLen = 16
	TagLen         = 16
	FrameOverhead  = FrameHeaderLen + TagLen

	CookieFrameLen       = 64
	CookieHeaderLen      = 8 // in front of the cookie reply
	UnknownIndexFrameLen = 16
	HandshakeHeaderLen   = 12
	MACsLen              = 32 // mac1 ‖ mac2 at the end of a handshake message

	// MaxHandshakeFrame bounds initiations and responses on every carrier.
	MaxHandshakeFrame = 2048
)

// WorkerMask selects the bits of a receiver index that name its worker.
const WorkerMask = 0x0f

// PutDataHeader writes the clear header of a data frame into b[:FrameHeaderLen].
func PutDataHeader(b []byte, receiver uint32, counter uint64) {
	_ = b[FrameHeaderLen-1]
	binary.BigEndian.PutUint32(b, uint32(FrameData)<<24)
	binary.BigEndian.PutUint32(b[4:], receiver)
	binary.BigEndian.PutUint64(b[8:], counter)
}

// ParseDataHeader reads the clear header of a data frame. It reports false if b
// is too short for a frame with a route packet in it, is of another type, or
// has a flag or reserved byte set.
func ParseDataHeader(b []byte) (receiver uint32, counter uint64, ok bool) {
	if len(b) < FrameOverhead+RouteHeaderLen || binary.BigEndian.Uint32(b) != uint32(FrameData)<<24 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:]), true
}

// A HandshakeHeader is the clear start of an initiation, a response, a cookie
// reply and an unknown-index hint.
type HandshakeHeader struct {
	Type     FrameType
	Receiver uint32 // the index its receiver gave out, 0 in initiations and hints
	Sender   uint32 // the index its sender gives out; in hints the unknown index
}

// Append appends the header's HandshakeHeaderLen bytes to b.
func (h HandshakeHeader) Append(b []byte) []byte {
	b = append(b, byte(h.Type), Version, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.Receiver)
	return binary.BigEndian.AppendUint32(b, h.Sender)
}

// ParseHandshakeHeader reads the header of a handshake message of any type but
// data and checks the length that its type asks for. For a cookie reply Sender
// has no meaning: the nonce starts there.
func ParseHandshakeHeader(b []byte) (h HandshakeHeader, ok bool) {
	if len(b) < HandshakeHeaderLen || b[1] != Version || b[2]|b[3] != 0 {
		return HandshakeHeader{}, false
	}
	h = HandshakeHeader{
		Type:     FrameType(b[0]),
		Receiver: binary.BigEndian.Uint32(b[4:]),
		Sender:   binary.BigEndian.Uint32(b[8:]),
	}
	switch h.Type {
	case FrameInitiation:
		ok = h.Receiver == 0 && len(b) > HandshakeHeaderLen+MACsLen && len(b) <= MaxHandshakeFrame
	case FrameResponse:
		ok = len(b) > HandshakeHeaderLen+MACsLen && len(b) <= MaxHandshakeFrame
	case FrameCookie:
		ok = len(b) == CookieFrameLen
	case FrameUnknownIndex:
		ok = h.Receiver == 0 && len(b) == UnknownIndexFrameLen && binary.BigEndian.Uint32(b[12:]) == 0
	}
	return h, ok
}
