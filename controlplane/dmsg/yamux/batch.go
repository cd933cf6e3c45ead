package yamux

import "net"

// A batch is what the sender is writing. It is not safe for concurrent use.
type batch struct {
	items []item // items[first:] are left; items[first] may be half written
	first int
	room  int      // of the frames written since takeRoom
	spare []byte   // memory of control frames that are written
	store [][]byte // of vec
	vec   net.Buffers
}

// An item is one frame of data, or several control frames.
type item struct {
	p   []byte // what is left to write
	buf *Buf   // where p is, or nil: then all is the memory
	all []byte
}

func (b *batch) empty() bool { return b.first == len(b.items) }

func (b *batch) addControl(p []byte) { b.items = append(b.items, item{p: p, all: p}) }

func (b *batch) add(buf *Buf) {
	b.items = append(b.items, item{p: buf.mem[buf.r:buf.w], buf: buf})
}

// takeSpare returns empty memory for control frames, or nil.
func (b *batch) takeSpare() []byte {
	p := b.spare
	b.spare = nil
	return p
}

// takeRoom returns the room of the frames written since it was last called.
func (b *batch) takeRoom() int {
	n := b.room
	b.room = 0
	return n
}

// advance takes n written bytes off.
func (b *batch) advance(n int) {
	for n > 0 {
		it := &b.items[b.first]
		m := min(n, len(it.p))
		it.p = it.p[m:]
		n -= m
		if len(it.p) > 0 {
			return
		}
		b.finish(it)
		b.first++
	}
	if b.empty() {
		b.items, b.first = b.items[:0], 0
	}
}

// finish takes back the memory of an item.
func (b *batch) finish(it *item) {
	if it.buf != nil {
		b.room += it.buf.room
		it.buf.free()
	} else {
		b.spare = it.all[:0]
	}
	*it = item{}
}

// drop forgets what is left.
func (b *batch) drop() {
	for ; b.first < len(b.items); b.first++ {
		b.finish(&b.items[b.first])
	}
	b.items, b.first, b.spare = nil, 0, nil
}

// try writes what the connection takes without blocking and reports whether that
// was all.
func (b *batch) try(raw *rawWriter) (all bool, err error) {
	for !b.empty() {
		p := b.items[b.first].p
		n, err := raw.write(p)
		b.advance(n)
		if err != nil || n < len(p) {
			return false, err
		}
	}
	return true, nil
}

// write writes what is left, blocking, in one system call where conn has one for
// that, and returns how much of it was written.
func (b *batch) write(conn net.Conn) (int, error) {
	b.store = b.store[:0]
	for i := range b.items[b.first:] {
		b.store = append(b.store, b.items[b.first+i].p)
	}
	b.vec = b.store
	n, err := b.vec.WriteTo(conn)
	clear(b.store)
	b.advance(int(n))
	return int(n), err
}
