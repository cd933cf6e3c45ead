package noise

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrTLV says that a payload ends inside a field.
var ErrTLV = errors.New("noise: truncated TLV")

// tlvHeader is the length of type (u8) and length (u16, big-endian).
const tlvHeader = 3

// AppendTLV appends one field to b: type u8, length u16 big-endian, value. value
// is borrowed for the call. It panics if value is longer than 65535 bytes, which no
// handshake payload can be.
func AppendTLV(b []byte, typ uint8, value []byte) []byte {
	if len(value) > math.MaxUint16 {
		panic(fmt.Sprintf("noise: TLV value of %d bytes", len(value)))
	}
	b = append(b, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// NextTLV splits the first field off b. value and rest alias b and cannot grow
// into each other. It fails with [ErrTLV]; b must not be empty.
func NextTLV(b []byte) (typ uint8, value, rest []byte, err error) {
	if len(b) < tlvHeader {
		return 0, nil, nil, ErrTLV
	}
	end := tlvHeader + int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < end {
		return 0, nil, nil, ErrTLV
	}
	return b[0], b[tlvHeader:end:end], b[end:], nil
}

// WalkTLVs calls field for each field of b in order, and stops at its first error,
// which it returns. A truncated b fails with [ErrTLV] before the first call, so
// nobody acts on half a payload. field ignores types that it does not know: that
// is how the format grows. value aliases b.
func WalkTLVs(b []byte, field func(typ uint8, value []byte) error) error {
	for rest := b; len(rest) > 0; {
		var err error
		if _, _, rest, err = NextTLV(rest); err != nil {
			return err
		}
	}
	for rest := b; len(rest) > 0; {
		var (
			typ   uint8
			value []byte
		)
		typ, value, rest, _ = NextTLV(rest)
		if err := field(typ, value); err != nil {
			return err
		}
	}
	return nil
}
