// Package fq is a fair queue with CoDel on each flow, after RFC 8290 and RFC 8289:
// one flood does not delay the others, and no flow keeps a standing queue.
//
// It differs from the RFCs where items differ from packets on a wire: an item may
// be 64 KiB, so the last one of a flow is never dropped, and what an item pins in
// memory is limited apart from what it weighs on the line.
//
// There is no lock, goroutine or clock inside; the owner brings them.
package fq

import "sync"

const (
	// Buckets is how many flows are told apart. More share buckets by hash.
	Buckets = 64

	// Quantum is how many bytes a flow may send in its turn. Larger items are
	// paid for over several turns.
	Quantum = 16 << 10

	// DefaultLimit is the most bytes that a Queue holds if its Limit is 0.
	DefaultLimit = 2 << 20

	// memFactor times the limit is the most memory that the items may pin.
	memFactor = 4

	// keepNodes bounds the node storage that goes back to a Pool: 28 KiB.
	keepNodes = 512
)

// An Item is something to send.
type Item[T any] struct {
	Flow uint32 // items of one flow stay in order
	Size int    // bytes on the line, which is what flows get a fair share of
	Mem  int    // bytes of memory that the item keeps from others; at least Size counts
	T    T
}

// A Pool holds the tables of queues that are empty, so that an idle queue has
// none. It is safe for concurrent use; the zero value is ready.
type Pool[T any] struct{ p sync.Pool }

func (p *Pool[T]) get() *table[T] {
	if t, ok := p.p.Get().(*table[T]); ok {
		return t
	}
	t := &table[T]{free: none}
	t.fresh, t.old = list{none, none}, list{none, none}
	for i := range t.buckets {
		t.buckets[i].head, t.buckets[i].next = none, none
	}
	return t
}

// A Queue holds items until it is their turn. It needs a Pool; without a Drop
// function dropped items just vanish. All methods belong to one owner at a time.
type Queue[T any] struct {
	Pool  *Pool[T]
	Drop  func(T) // takes what was dropped; it must not call the queue
	Limit int     // bytes; 0 is DefaultLimit

	t    *table[T] // nil before the first Push and after Release
	n    int
	size int
	mem  int
}

// table is what a queue needs while it is in use: 5 KiB and the nodes.
type table[T any] struct {
	buckets [Buckets]bucket
	fresh   list // flows that have just begun go first
	old     list
	nodes   []node[T] // items; lists are made of indices into it
	free    int32     // list of unused nodes
}

const none = -1

type node[T any] struct {
	item Item[T]
	at   int64 // when it came
	next int32
}

// A bucket is the queue of one flow.
type bucket struct {
	head, tail int32 // nodes
	next       int32 // bucket behind this one in its list
	state      bucketState
	deficit    int
	mem        int
	codel      codel
}

type bucketState uint8

const (
	inactive bucketState = iota // in no list
	isFresh
	isOld
)

// Len returns how many items are queued.
func (q *Queue[T]) Len() int { return q.n }

// Bytes returns the size of all queued items.
func (q *Queue[T]) Bytes() int { return q.size }

// Push queues it at the time now, in ns on any steady clock. Where that makes the
// queue too long, the flow that pins the most memory loses its oldest items, which
// may include this one. It returns how many were dropped.
func (q *Queue[T]) Push(now int64, it Item[T]) (dropped int) {
	if q.t == nil {
		q.t = q.Pool.get()
	}
	it.Mem = max(it.Mem, it.Size)
	i := hash(it.Flow)
	b := &q.t.buckets[i]
	n := q.t.alloc()
	q.t.nodes[n] = node[T]{item: it, at: now, next: none}
	if b.head == none {
		b.head = n
	} else {
		q.t.nodes[b.tail].next = n
	}
	b.tail = n
	b.mem += it.Mem
	q.n++
	q.size += it.Size
	q.mem += it.Mem
	if b.state == inactive {
		b.state, b.deficit = isFresh, Quantum
		q.t.push(&q.t.fresh, i)
	}
	limit := q.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	for q.size > limit || q.mem > limit*memFactor {
		q.discard(q.take(q.fattest()))
		dropped++
	}
	return dropped
}

// Pop takes the next item at the time now. CoDel may drop items on the way;
// dropped says how many. ok is false if the queue is empty, which a queue that was
// not empty cannot become by drops.
func (q *Queue[T]) Pop(now int64) (it Item[T], ok bool, dropped int) {
	for q.n > 0 {
		l, i := q.turn()
		b := &q.t.buckets[i]
		if b.head == none {
			q.t.pop(l)
			// A new flow that ran empty goes behind the old ones once before it
			// counts as new again, so that it cannot starve them (RFC 8290, 4.2).
			if b.state == isFresh {
				b.state = isOld
				q.t.push(&q.t.old, i)
			} else {
				b.state = inactive
			}
			continue
		}
		n := &q.t.nodes[b.head]
		for b.codel.drop(now, now-n.at, n.next == none) {
			q.discard(q.take(i))
			dropped++
			n = &q.t.nodes[b.head]
		}
		it = q.take(i)
		b.deficit -= it.Size
		return it, true, dropped
	}
	return Item[T]{}, false, dropped
}

// turn returns the list and the bucket whose turn it is, after giving those that
// have used up their share a new one. There must be a bucket in a list.
func (q *Queue[T]) turn() (*list, int32) {
	t := q.t
	for {
		l := &t.fresh
		if l.head == none {
			l = &t.old
		}
		i := l.head
		b := &t.buckets[i]
		if b.deficit > 0 {
			return l, i
		}
		b.deficit += Quantum
		t.pop(l)
		b.state = isOld
		t.push(&t.old, i)
	}
}

// Clear drops everything.
func (q *Queue[T]) Clear() (dropped int) {
	if q.n == 0 {
		return 0
	}
	for i := range q.t.buckets {
		for q.t.buckets[i].head != none {
			q.discard(q.take(int32(i)))
			dropped++
		}
	}
	return dropped
}

// Release gives the table of an empty queue back to the pool; the next Push takes
// another. What CoDel and the rounds had learned is lost. It does nothing while
// there are items.
func (q *Queue[T]) Release() {
	if q.t == nil || q.n > 0 {
		return
	}
	t := q.t
	q.t = nil
	for i := range t.buckets {
		t.buckets[i] = bucket{head: none, next: none}
	}
	t.fresh, t.old = list{none, none}, list{none, none}
	if cap(t.nodes) > keepNodes {
		t.nodes, t.free = nil, none
	}
	q.Pool.p.Put(t)
}

// take unlinks the first item of bucket i.
func (q *Queue[T]) take(i int32) Item[T] {
	b := &q.t.buckets[i]
	at := b.head
	n := &q.t.nodes[at]
	it := n.item
	b.head = n.next
	b.mem -= it.Mem
	*n = node[T]{next: q.t.free} // holds on to nothing
	q.t.free = at
	q.n--
	q.size -= it.Size
	q.mem -= it.Mem
	return it
}

func (q *Queue[T]) discard(it Item[T]) {
	if q.Drop != nil {
		q.Drop(it.T)
	}
}

// fattest returns the bucket whose items pin the most memory. Looking at all of
// them is cheap beside what is lost, and only an overfull queue does it.
func (q *Queue[T]) fattest() int32 {
	best := int32(0)
	for i := range q.t.buckets {
		if q.t.buckets[i].mem > q.t.buckets[best].mem {
			best = int32(i)
		}
	}
	return best
}

func (t *table[T]) alloc() int32 {
	if n := t.free; n != none {
		t.free = t.nodes[n].next
		return n
	}
	t.nodes = append(t.nodes, node[T]{})
	return int32(len(t.nodes) - 1)
}

// A list is a queue of buckets, linked by their next.
type list struct{ head, tail int32 }

func (t *table[T]) push(l *list, i int32) {
	t.buckets[i].next = none
	if l.head == none {
		l.head = i
	} else {
		t.buckets[l.tail].next = i
	}
	l.tail = i
}

func (t *table[T]) pop(l *list) { l.head = t.buckets[l.head].next }

// hash spreads flows over the buckets (Fibonacci hashing, Knuth 6.4).
func hash(flow uint32) int32 { return int32(flow * 0x9e3779b1 >> 26) }
