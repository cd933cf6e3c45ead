package yamux

import "sync"

const (
	// MaxPeek is the most bytes that Peek returns: the longest object of the
	// deployed protocol, two bytes of length and the 65,535 that they can count.
	MaxPeek = 2 + 1<<16 - 1

	// headroom is what a Buf has in front of its body. A header needs 12 bytes of
	// it; with 64 the body starts on a cache line.
	headroom = 64

	// slabSize is what one read of the connection takes at most.
	slabSize = 128 << 10
)

// bufSizes are the bodies that pooled Bufs have room for. The least is for frames
// that are a header only, the largest for the session's reader.
var bufSizes = [...]int{0, 1 << 10, 4 << 10, 16 << 10, MaxFrame, slabSize}

// bufPools, one per size, are caches of blank memory, not state: nobody can tell
// whether a Buf came from a pool or from the allocator.
var bufPools [len(bufSizes)]sync.Pool

// A Buf is pooled memory with room for a frame header in front.
//
// Ownership: whoever Reserve gave it to, until Send. It has no lock.
type Buf struct {
	mem   []byte // headroom and the body's room
	r, w  int    // mem[r:w] is what is in it: received bytes not read yet, or a frame not written yet
	room  int    // the size that was reserved
	class int8   // index of its pool
	next  *Buf   // in a queue
}

// getBuf returns an empty Buf with room for a body of n bytes, n ≤ slabSize.
func getBuf(n int) *Buf {
	c := 0
	for bufSizes[c] < n {
		c++
	}
	b, _ := bufPools[c].Get().(*Buf)
	if b == nil {
		b = &Buf{mem: make([]byte, headroom+bufSizes[c]), class: int8(c)}
	}
	b.r, b.w = headroom, headroom
	return b
}

// free gives b back to its pool.
func (b *Buf) free() {
	b.next = nil
	bufPools[b.class].Put(b)
}

// Bytes returns the room for the body: as many bytes as were reserved, 1 up to
// MaxFrame, with undefined contents.
func (b *Buf) Bytes() []byte { return b.mem[headroom : headroom+b.room] }

// frame makes a frame of the header h and the first h.BodyLen() bytes of the room.
func (b *Buf) frame(h Header) {
	b.r, b.w = headroom-HeaderLen, headroom+int(h.BodyLen())
	h.Put(b.mem[b.r:])
}

// len returns how many bytes are in b.
func (b *Buf) len() int { return b.w - b.r }

// A bufQueue is a list of Bufs, first in, first out.
type bufQueue struct{ head, tail *Buf }

func (q *bufQueue) push(b *Buf) {
	b.next = nil
	if q.tail == nil {
		q.head = b
	} else {
		q.tail.next = b
	}
	q.tail = b
}

func (q *bufQueue) pop() *Buf {
	b := q.head
	if q.head = b.next; q.head == nil {
		q.tail = nil
	}
	b.next = nil
	return b
}

// free gives back all that is queued.
func (q *bufQueue) free() {
	for q.head != nil {
		q.pop().free()
	}
}
