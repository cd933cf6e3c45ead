package relay

import (
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// A batch that passes through allocates nothing, whatever is in it.
func TestPassAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	id := identity(t)
	w := newWorkbench(t, id, hopFor(t, id), false)
	defer w.finish(t)
	var mixed []byte
	for _, stream := range []uint32{1, 1, 3, 2, 1, 3} {
		mixed = append(mixed, frameBytes(yamux.Header{Type: data, StreamID: stream, Length: 50})...)
		mixed = append(mixed, make([]byte, 50)...)
		mixed = append(mixed, frameBytes(yamux.Header{Type: update, StreamID: stream, Length: 50})...)
	}
	// 20 batches of this fit into the sockets, so that nothing has to be queued.
	circuits := w.sessions[sessA].circuits
	if n := testing.AllocsPerRun(2, func() {
		for range 20 {
			for _, c := range circuits { // as if everybody read
				c.ends[dialer].credit.Store(yamux.InitialWindow)
				c.ends[listener].credit.Store(yamux.InitialWindow)
			}
			w.feed(sessA, mixed)
		}
	}); n >= 1 {
		t.Errorf("%v allocations in 20 batches, want 0", n)
	}
}
