package link

import (
	"errors"
	"sync"

	"github.com/skyminer/skywire/dataplane/packet"
)

// A receiver index is ours to choose but for its low four bits, which name the
// worker. Above them stand the slot of the key, 20 bits, and a generation, 8 bits,
// so that a late frame for a key that is gone does not find the slot's next tenant.
const (
	indexWorkerBits = 4
	indexGenShift   = indexWorkerBits + packet.SlotBits
)

func indexSlot(index uint32) int { return int(index >> indexWorkerBits & (1<<packet.SlotBits - 1)) }

var errIndices = errors.New("link: out of receiver indices")

// An indexAllocator gives out receiver indices. Freed slots are used again in the
// order in which they came back, the oldest first and each under its next
// generation. Safe for concurrent use.
type indexAllocator struct {
	mu   sync.Mutex
	gen  uint8    // of slots that are used for the first time
	next int      // slots that have ever been used
	free []uint32 // the last indices of free slots
}

// take returns a free index that worker owns. Index 0 is never given out.
func (a *indexAllocator) take(worker int) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var slot int
	gen := a.gen
	switch {
	case a.next < 1<<packet.SlotBits-1 && len(a.free) < 64:
		a.next++
		slot = a.next
	case len(a.free) > 0:
		slot, gen = indexSlot(a.free[0]), uint8(a.free[0]>>indexGenShift)+1
		a.free = a.free[1:]
	default:
		return 0, errIndices
	}
	return uint32(gen)<<indexGenShift | uint32(slot)<<indexWorkerBits | uint32(worker), nil
}

func (a *indexAllocator) put(index uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, index)
}
