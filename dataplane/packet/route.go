package packet

import "encoding/binary"

// A Label names a rule at the receiver of a link (docs/wire.md section 4.1).
type Label uint32

// Labels: 0 is the link itself, up to MaxStaticLabel are an operator's, the
// rest are slot (low 20 bits, from FirstDynamicSlot) and generation.
const (
	LabelLink        Label = 0
	MaxStaticLabel   Label = 1<<16 - 1
	FirstDynamicSlot       = 1 << 16
	SlotBits               = 20
)

// Slot returns the index of l in a label table.
func (l Label) Slot() int { return int(l & (1<<SlotBits - 1)) }

// A Kind tells what a route packet carries.
type Kind uint8

// Kinds, docs/wire.md section 4. Those from KindPathChallenge on exist on
// label 0 only.
const (
	KindData  Kind = 1
	KindSess  Kind = 2
	KindProbe Kind = 3
	KindReply Kind = 4
	KindError Kind = 5
	KindClose Kind = 6

	KindPathChallenge Kind = 0x11
	KindPathEcho      Kind = 0x12
	KindMTUProbe      Kind = 0x13
	KindMTUFound      Kind = 0x14
	KindRekey         Kind = 0x15
	KindRekeyed       Kind = 0x16
	KindSwitched      Kind = 0x17
)

// PhaseMask selects the key phase in a route packet's flags; all other flags
// are unknown and make a receiver drop the packet.
const PhaseMask = 0x03

// Sizes of route packets in bytes.
const (
	RouteHeaderLen = 8
	RouteAlign     = 16

	// MaxRoutePacket is the largest multiple of 16 that fits a stream record
	// of 64 KiB with its u16 length.
	MaxRoutePacket = 65520

	// MinMTU is what every link carries: a UDP payload of 1232 bytes (the
	// IPv6 minimum of 1280 less 40 and 8) less the frame's overhead.
	MinMTU = 1200
)

// A RouteHeader is the header of a route packet.
type RouteHeader struct {
	Label  Label
	Kind   Kind
	Flags  uint8
	Length uint16 // of the body, without padding
}

// Put writes the header into b[:RouteHeaderLen].
func (h RouteHeader) Put(b []byte) {
	_ = b[RouteHeaderLen-1]
	binary.BigEndian.PutUint32(b, uint32(h.Label))
	b[4], b[5] = byte(h.Kind), h.Flags
	binary.BigEndian.PutUint16(b[6:], h.Length)
}

// PutLabel rewrites the label of the route packet b in place: all that a
// transit hop changes.
func PutLabel(b []byte, l Label) { binary.BigEndian.PutUint32(b, uint32(l)) }

// ParseRoute splits the route packet b. body aliases b without the padding.
// ok is false if b is shorter than its header or body, or not a multiple of
// RouteAlign, or carries more padding than its kind allows.
func ParseRoute(b []byte) (h RouteHeader, body []byte, ok bool) {
	if len(b) < RouteAlign || len(b)%RouteAlign != 0 || len(b) > MaxRoutePacket {
		return RouteHeader{}, nil, false
	}
	h = RouteHeader{
		Label:  Label(binary.BigEndian.Uint32(b)),
		Kind:   Kind(b[4]),
		Flags:  b[5],
		Length: binary.BigEndian.Uint16(b[6:]),
	}
	end := RouteHeaderLen + int(h.Length)
	if end > len(b) || len(b)-end >= RouteAlign {
		return RouteHeader{}, nil, false
	}
	return h, b[RouteHeaderLen:end:end], true
}

// Padded returns the size of a route packet with a body of n bytes.
func Padded(n int) int {
	return (RouteHeaderLen + n + RouteAlign - 1) &^ (RouteAlign - 1)
}

// Payload protocols, the first byte of a session payload (docs/wire.md 5.3).
const (
	ProtoTCP      uint8 = 1
	ProtoUDP      uint8 = 2
	ProtoICMP     uint8 = 3
	ProtoFragment uint8 = 4
	ProtoControl  uint8 = 5
	ProtoIP       uint8 = 6

	ProtoMux       uint8 = 7 // a payload with a number, spread over several routes
	ProtoMuxReport uint8 = 8
)

// Types of TLVs in handshake payloads and control messages. One number space
// for all, so that a TLV means the same wherever it stands.
const (
	TLVTimestamp   uint8 = 1
	TLVMaxPacket   uint8 = 2
	TLVDirectLabel uint8 = 3
	TLVRouteID     uint8 = 4
	TLVPhasesInUse uint8 = 5
	TLVPhase       uint8 = 6
	TLVBound       uint8 = 7
	TLVRouteMTU    uint8 = 8
	TLVGoodbye     uint8 = 9
)
