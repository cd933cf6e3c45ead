//go:build !race

package yamux

import "testing"

// TestAllocs: frames cost no memory in the steady state. Under the race detector a
// sync.Pool drops what it likes, hence the build tag.
func TestAllocs(t *testing.T) {
	c, s := sessions(t, Config{}, Config{})
	a, b := streams(t, c, s)
	exchange := func() {
		for range 100 {
			buf, err := a.Reserve(8192)
			if err != nil {
				t.Fatal(err)
			}
			n := len(buf.Bytes())
			if err := a.Send(buf, n); err != nil {
				t.Fatal(err)
			}
			for n > 0 {
				p, err := b.Peek(min(n, 1000))
				if err != nil {
					t.Fatal(err)
				}
				n -= len(p)
				b.Discard(len(p))
			}
		}
	}
	exchange()
	// Pools are emptied now and then, and the writer's goroutine starts now and then.
	if n := testing.AllocsPerRun(20, exchange); n > 20 {
		t.Errorf("%v allocations per 100 frames, want next to none", n)
	}
}
