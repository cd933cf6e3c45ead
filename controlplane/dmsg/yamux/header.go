package yamux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Sizes of the format.
const (
	HeaderLen     = 12        // bytes: version u8, type u8, flags u16, stream id u32, length u32; big endian
	InitialWindow = 256 << 10 // bytes of credit each direction of a new stream begins with
	MaxFrame      = 64 << 10  // bytes of body in the longest data frame this package sends; it takes any that fits the credit
)

// version is the only one there is.
const version = 0

// A Type says what a frame is for.
type Type uint8

// The types of frames. Length means something else in each.
const (
	TypeData         Type = 0 // Length bytes of body follow
	TypeWindowUpdate Type = 1 // Length more bytes of credit
	TypePing         Type = 2 // Length is an opaque value; FlagSYN asks, FlagACK answers with the same value
	TypeGoAway       Type = 3 // Length is a GoAwayCode; the sender accepts no new streams
)

func (t Type) String() string {
	switch t {
	case TypeData:
		return "data"
	case TypeWindowUpdate:
		return "window update"
	case TypePing:
		return "ping"
	case TypeGoAway:
		return "go away"
	}
	return "type " + strconv.Itoa(int(t))
}

// Flags is a set of flags; on data and window updates they move the state of the
// stream before the frame itself counts.
type Flags uint16

// The flags.
const (
	FlagSYN Flags = 1 << iota // opens a stream, or asks in a ping
	FlagACK                   // accepts a stream, or answers a ping
	FlagFIN                   // the sender sends no more
	FlagRST                   // the stream is gone both ways

	allFlags = FlagSYN | FlagACK | FlagFIN | FlagRST
)

// A GoAwayCode is the reason in a go-away frame.
type GoAwayCode uint32

// The reasons to go away.
const (
	GoAwayNormal        GoAwayCode = 0
	GoAwayProtocolError GoAwayCode = 1
	GoAwayInternalError GoAwayCode = 2
)

// What can be wrong with a header.
var (
	ErrShortHeader = errors.New("yamux: header cut short")
	ErrVersion     = errors.New("yamux: unknown version")
	ErrType        = errors.New("yamux: unknown frame type")
	ErrFlags       = errors.New("yamux: unknown flags")
)

// A Header is the start of every frame.
type Header struct {
	Type     Type
	Flags    Flags
	StreamID uint32 // odd: opened by the yamux client; 0 on pings and go-aways
	Length   uint32 // see Type; only a data frame has as many bytes behind it
}

// ParseHeader reads the header at the start of b; what follows is not looked at.
//
// Errors: ErrShortHeader, ErrVersion, ErrType, ErrFlags, in that order. It does
// not allocate unless it fails.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrShortHeader
	}
	h := Header{
		Type:     Type(b[1]),
		Flags:    Flags(binary.BigEndian.Uint16(b[2:])),
		StreamID: binary.BigEndian.Uint32(b[4:]),
		Length:   binary.BigEndian.Uint32(b[8:]),
	}
	switch {
	case b[0] != version:
		return Header{}, fmt.Errorf("%w %d", ErrVersion, b[0])
	case h.Type > TypeGoAway:
		return Header{}, fmt.Errorf("%w %d", ErrType, b[1])
	case h.Flags&^allFlags != 0:
		return Header{}, fmt.Errorf("%w %#04x", ErrFlags, uint16(h.Flags))
	}
	return h, nil
}

// Put writes h to the first HeaderLen bytes of b, which must have them.
func (h Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	b[0] = version
	b[1] = byte(h.Type)
	binary.BigEndian.PutUint16(b[2:], uint16(h.Flags))
	binary.BigEndian.PutUint32(b[4:], h.StreamID)
	binary.BigEndian.PutUint32(b[8:], h.Length)
}

// BodyLen returns how many bytes follow the header.
func (h Header) BodyLen() uint32 {
	if h.Type == TypeData {
		return h.Length
	}
	return 0
}
