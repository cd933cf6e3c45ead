package graph

import (
	"encoding/hex"
	"errors"
)

// A TransportID names a transport: a UUID. Its text form is that of RFC 9562,
// section 4, in lower case.
type TransportID [16]byte

// ErrID says that a text is no TransportID.
var ErrID = errors.New("graph: not the id of a transport (a UUID: 8-4-4-4-12 hex digits)")

// idLen is the length of the text form: 32 digits and four dashes.
const idLen = 36

// ParseID reads the text form; the digits may be of either case.
func ParseID(s string) (id TransportID, err error) {
	if len(s) != idLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return TransportID{}, ErrID
	}
	digits := make([]byte, 0, 32)
	for _, part := range []string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
		digits = append(digits, part...)
	}
	if _, err := hex.Decode(id[:], digits); err != nil {
		return TransportID{}, ErrID
	}
	return id, nil
}

// String returns the text form.
func (id TransportID) String() string {
	b, _ := id.AppendText(make([]byte, 0, idLen))
	return string(b)
}

// AppendText appends the text form to b.
func (id TransportID) AppendText(b []byte) ([]byte, error) {
	for i, part := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b, nil
}

// MarshalText returns the text form.
func (id TransportID) MarshalText() ([]byte, error) { return id.AppendText(make([]byte, 0, idLen)) }

// UnmarshalText reads the text form. It fails with ErrID.
func (id *TransportID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}
