//go:build dpdebug

package packet

import "sync/atomic"

// Debug reports whether the build checks buffer ownership (-tags dpdebug).
const Debug = true

// poison is the byte that freed memory is filled with. 0xDD is no frame type, no
// proto and no plausible length, so stale reads fail early and show in a dump.
const poison = 0xdd

// Poison overwrites b, whose loan has ended, so that a stale reader sees 0xDD
// and not a packet that looks right. It does nothing without -tags dpdebug.
func Poison(b []byte) {
	for i := range b {
		b[i] = poison
	}
}

const (
	fresh uint32 = iota // from the allocator, never freed
	live                // owned by a caller
	freed               // in the pool, all poison
)

// A guard checks the life of one slab. The state is atomic so that two
// goroutines that free the same slab at once still panic.
type guard struct{ state atomic.Uint32 }

func (g *guard) acquire(b []byte) {
	if g.state.Swap(live) == fresh {
		return
	}
	for _, c := range b {
		if c != poison {
			panic("packet: slab written after Free")
		}
	}
}

func (g *guard) release(b []byte) {
	if g.state.Swap(freed) != live {
		panic("packet: slab freed twice")
	}
	Poison(b)
}
