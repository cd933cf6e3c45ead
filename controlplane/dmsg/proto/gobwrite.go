package proto

import (
	"encoding/binary"
	"math/bits"
)

// A gobWriter builds one message. Fields that are zero are left out, but for
// structs and arrays, as encoding/gob does.
type gobWriter struct {
	b    []byte
	last int // the last field written of the struct at hand
}

// appendTo appends the message with its length to dst.
func (w *gobWriter) appendTo(dst []byte) []byte {
	return append(appendGobUint(dst, uint64(len(w.b))), w.b...)
}

func (w *gobWriter) uint(u uint64) { w.b = appendGobUint(w.b, u) }

func (w *gobWriter) int(i int64) {
	u := uint64(i) << 1
	if i < 0 {
		u = ^u
	}
	w.uint(u)
}

func (w *gobWriter) begin() { w.last = -1 }

// field says which field of the struct comes next.
func (w *gobWriter) field(i int) {
	w.uint(uint64(i - w.last))
	w.last = i
}

func (w *gobWriter) end() { w.uint(0) }

// bytes writes b as field i unless it is empty.
func (w *gobWriter) bytes(i int, b []byte) {
	if len(b) > 0 {
		w.field(i)
		w.uint(uint64(len(b)))
		w.b = append(w.b, b...)
	}
}

// addr writes a as field i.
func (w *gobWriter) addr(i int, a Addr) {
	w.field(i)
	w.begin()
	if !a.PK.IsZero() {
		w.bytes(0, a.PK[:])
	}
	if a.Port != 0 {
		w.field(1)
		w.uint(uint64(a.Port))
	}
	w.end()
	w.last = i
}

func appendGobUint(b []byte, u uint64) []byte {
	if u < 0x80 {
		return append(b, byte(u))
	}
	n := (bits.Len64(u) + 7) / 8
	b = append(b, byte(-n))
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], u)
	return append(b, be[8-n:]...)
}
