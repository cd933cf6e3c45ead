package forward

import (
	"math/rand/v2"

	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	maxDynamic      = 1<<packet.SlotBits - packet.FirstDynamicSlot
	generationBits  = 32 - packet.SlotBits
	generationMask  = 1<<generationBits - 1
	minFreeForReuse = 64 // slots that rest before the oldest is used again
)

// labels gives out dynamic labels. A slot that is given back comes up again as
// late as possible and with the next generation, so that packets still under way
// under the old label do not meet the new rule. Not for concurrent use.
type labels struct {
	gens []uint16 // generation of each slot ever used, counted from FirstDynamicSlot
	free []uint32 // slots given back, oldest first
}

// take returns a label that no rule has, or false when all are taken. The first
// generation of a slot is random: what was given out before a restart is unknown.
func (t *labels) take() (packet.Label, bool) {
	var slot uint32
	switch {
	case len(t.free) > minFreeForReuse || len(t.gens) == maxDynamic && len(t.free) > 0:
		slot, t.free = t.free[0], t.free[1:]
	case len(t.gens) < maxDynamic:
		slot = uint32(len(t.gens))
		t.gens = append(t.gens, uint16(rand.N(generationMask+1)))
	default:
		return 0, false
	}
	return packet.Label(uint32(t.gens[slot])<<packet.SlotBits | slot + packet.FirstDynamicSlot), true
}

// give returns a dynamic label; others are ignored.
func (t *labels) give(l packet.Label) {
	if l <= packet.MaxStaticLabel {
		return
	}
	slot := uint32(l.Slot()) - packet.FirstDynamicSlot
	t.gens[slot] = (t.gens[slot] + 1) & generationMask
	t.free = append(t.free, slot)
}
