package netstack

import (
	"encoding/binary"
	"sync"

	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// A record in a slab is the datagram's length u16, source port u16, source class
	// u32, source key, then its data.
	recordLen = 2 + 2 + 4 + cipher.PubKeyLen
	// slabLen holds the largest datagram.
	slabLen = recordLen + MaxDatagram
	// maxSlabs bounds what waits in one socket: about a megabyte.
	maxSlabs = 16
	// firstSlab is the size of a socket's first slab; each next one is four times
	// larger. A socket with a little traffic stays small.
	firstSlab = 4 << 10
)

// datagrams is a queue of datagrams in slabs: no allocation per datagram, and an
// empty queue keeps one slab at most. The zero value is empty.
type datagrams struct {
	mu    sync.Mutex
	slabs []*slab // oldest first
	spare *slab   // the last one that was read to its end
}

// A slab holds records in buf[r:len(buf)].
type slab struct {
	buf []byte
	r   int
}

// push copies a datagram in and reports whether there was room.
func (q *datagrams) push(from Addr, data []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	need := recordLen + len(data)
	if n := len(q.slabs); n == 0 || cap(q.slabs[n-1].buf)-len(q.slabs[n-1].buf) < need {
		if n == maxSlabs {
			return false
		}
		q.slabs = append(q.slabs, q.newSlab(need))
	}
	s := q.slabs[len(q.slabs)-1]
	s.buf = binary.BigEndian.AppendUint16(s.buf, uint16(len(data)))
	s.buf = binary.BigEndian.AppendUint16(s.buf, from.Port)
	s.buf = binary.BigEndian.AppendUint32(s.buf, from.Class)
	s.buf = append(s.buf, from.PK[:]...)
	s.buf = append(s.buf, data...)
	return true
}

// newSlab returns an empty slab with room for need bytes. Callers hold q.mu.
func (q *datagrams) newSlab(need int) *slab {
	if s := q.spare; s != nil && cap(s.buf) >= need {
		q.spare = nil
		return s
	}
	size := firstSlab
	if n := len(q.slabs); n > 0 {
		size = min(4*cap(q.slabs[n-1].buf), slabLen)
	}
	return &slab{buf: make([]byte, 0, max(size, need))}
}

// pop copies the oldest datagram to b and returns the bytes copied, the
// datagram's size and its source; ok is false if there is none.
func (q *datagrams) pop(b []byte) (n, size int, from Addr, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.slabs) == 0 {
		return 0, 0, Addr{}, false
	}
	s := q.slabs[0]
	rec := s.buf[s.r:]
	size = int(binary.BigEndian.Uint16(rec))
	from.Port = binary.BigEndian.Uint16(rec[2:])
	from.Class = binary.BigEndian.Uint32(rec[4:])
	copy(from.PK[:], rec[8:])
	n = copy(b, rec[recordLen:recordLen+size])
	if s.r += recordLen + size; s.r == len(s.buf) {
		copy(q.slabs, q.slabs[1:])
		q.slabs[len(q.slabs)-1] = nil
		q.slabs = q.slabs[:len(q.slabs)-1]
		s.buf, s.r = s.buf[:0], 0
		q.spare = s
	}
	return n, size, from, true
}

// drop empties the queue.
func (q *datagrams) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slabs, q.spare = nil, nil
}
