package packet

import "sync"

const (
	// Headroom is how many bytes a [Buf] has beyond the largest superpacket, so
	// that a layer can put its header in front of, or its tag behind, a full one.
	Headroom = 128

	// BufCap is the size of a [Buf] in bytes: the largest UDP or IP payload
	// (a 16-bit length field, so 64 KiB) and Headroom.
	BufCap = 64<<10 + Headroom

	// SmallCap is the size of a [Small] in bytes: one datagram on an Ethernet
	// path (1500) with room to spare.
	SmallCap = 2 << 10
)

// The two pools are the only package-level variables here. They are caches of
// blank memory, not state: no caller can tell whether a slab came from a pool
// or from the allocator, except by the -tags dpdebug checks.
//
// At its worst a pool holds as many slabs as were ever out at the same time
// since the collection before last: sync.Pool keeps what is put back, moves it
// to a victim cache at the next garbage collection and drops it at the one
// after. A burst of 1,000 Bufs thus pins 72 MiB for at most two collections.
var (
	bufs   = sync.Pool{New: func() any { return new(Buf) }}
	smalls = sync.Pool{New: func() any { return new(Small) }}
)

// A Buf is a pooled slab for one superpacket. Its contents are undefined when
// it comes from [GetBuf].
//
// Ownership: whoever holds the pointer owns the slab until Free, and hands the
// duty to Free on with the pointer. A Buf has no lock: one goroutine at a time.
type Buf struct {
	guard guard // zero-size without -tags dpdebug
	B     [BufCap]byte
}

// GetBuf returns a Buf that the caller owns and must Free. Safe for concurrent
// use.
func GetBuf() *Buf {
	b := bufs.Get().(*Buf)
	b.guard.acquire(b.B[:])
	return b
}

// Free gives the slab back. Nothing may touch b or a slice of b.B afterwards:
// under -tags dpdebug the bytes become 0xDD, a second Free panics, and so does
// the GetBuf that finds bytes written after Free.
func (b *Buf) Free() {
	b.guard.release(b.B[:])
	bufs.Put(b)
}

// A Small is a pooled slab for one ordinary datagram: handshakes, control
// messages, single packets that wait in a queue. The rules of [Buf] apply.
type Small struct {
	guard guard
	B     [SmallCap]byte
}

// GetSmall returns a Small that the caller owns and must Free. Safe for
// concurrent use.
func GetSmall() *Small {
	s := smalls.Get().(*Small)
	s.guard.acquire(s.B[:])
	return s
}

// Free gives the slab back, under the same rules as [Buf.Free].
func (s *Small) Free() {
	s.guard.release(s.B[:])
	smalls.Put(s)
}
