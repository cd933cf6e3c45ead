package packet

import (
	"sync"
	"sync/atomic"
)

const (
	slotsPageBits = 8
	slotsPageLen  = 1 << slotsPageBits
	slotsMaxLen   = 1 << SlotBits
)

// Slots is a table of pointers, indexed by small numbers, that is read without
// a lock: packet workers find rules and keys in it. Pages come into being on the
// first Store into them, so a sparse table costs about 2 KiB per page used. The
// zero value is empty. At most 1<<SlotBits slots.
//
// What a Load returned stays valid after the slot has changed: entries are
// replaced, never edited, and the garbage collector keeps the old one alive.
type Slots[T any] struct {
	mu  sync.Mutex // serialises growth; never taken by Load
	dir atomic.Pointer[[]*slotsPage[T]]
}

type slotsPage[T any] [slotsPageLen]atomic.Pointer[T]

// Load returns the entry in slot i, or nil if there is none.
func (s *Slots[T]) Load(i int) *T {
	dir := s.dir.Load()
	if dir == nil || uint(i)>>slotsPageBits >= uint(len(*dir)) {
		return nil
	}
	p := (*dir)[uint(i)>>slotsPageBits]
	if p == nil {
		return nil
	}
	return p[uint(i)%slotsPageLen].Load()
}

// Store puts v into slot i; nil empties it. It panics if i is out of range,
// which only a bug of the caller can cause: indices are given out locally.
func (s *Slots[T]) Store(i int, v *T) {
	if i < 0 || i >= slotsMaxLen {
		panic("packet: slot index out of range")
	}
	s.page(i >> slotsPageBits)[i%slotsPageLen].Store(v)
}

// page returns page n, which it makes if needed.
func (s *Slots[T]) page(n int) *slotsPage[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	var old []*slotsPage[T]
	if dir := s.dir.Load(); dir != nil {
		old = *dir
	}
	if n < len(old) && old[n] != nil {
		return old[n]
	}
	grown := make([]*slotsPage[T], max(len(old), n+1))
	copy(grown, old)
	grown[n] = new(slotsPage[T])
	s.dir.Store(&grown)
	return grown[n]
}
