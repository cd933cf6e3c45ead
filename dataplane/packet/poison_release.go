//go:build !dpdebug

package packet

// Debug reports whether the build checks buffer ownership (-tags dpdebug).
const Debug = false

// Poison does nothing in this build. See poison_debug.go.
func Poison([]byte) {}

// A guard checks the life of one slab. In this build it takes no space and both
// methods compile to nothing.
type guard struct{}

func (*guard) acquire([]byte) {}
func (*guard) release([]byte) {}
