package noise

const (
	// WindowSize is how many of the latest counters a Window tells apart.
	WindowSize  = 8192
	windowWords = WindowSize / 64
)

// A Window remembers which counters have arrived, after RFC 6479 but exact to the
// bit: the WindowSize numbers up to the greatest accepted one are told apart, and
// all older ones count as seen. The zero value is ready and has seen nothing.
// 1032 bytes. It belongs to one goroutine.
//
// Check before opening a packet, Accept after: a forged packet must not move the
// window.
type Window struct {
	head uint64 // one above the greatest accepted counter
	// Bit c mod WindowSize stands for counter c in head-WindowSize..head-1. Bits are
	// cleared when the head passes over them.
	seen [windowWords]uint64
}

// Check reports whether c could be accepted: it is neither a repetition, nor too
// old to tell, nor at or above [MaxCounter].
func (w *Window) Check(c uint64) bool {
	switch {
	case c >= MaxCounter:
		return false
	case c >= w.head:
		return true
	case w.head-c > WindowSize:
		return false
	}
	word, bit := place(c)
	return w.seen[word]&bit == 0
}

// Accept records c and reports whether that was the first time. It answers as
// Check does, and changes nothing where it answers false.
func (w *Window) Accept(c uint64) bool {
	if !w.Check(c) {
		return false
	}
	if c >= w.head {
		w.clear(w.head, c)
		w.head = c + 1
	}
	word, bit := place(c)
	w.seen[word] |= bit
	return true
}

// Greatest returns the greatest accepted counter; ok is false if there is none.
// Only an authentic packet at least this new may move a peer's address.
func (w *Window) Greatest() (c uint64, ok bool) { return w.head - 1, w.head > 0 }

// clear forgets what the bits of from..to said about counters one or more turns
// of the ring earlier. At most windowWords steps, however far the jump.
func (w *Window) clear(from, to uint64) {
	if to-from >= WindowSize {
		w.seen = [windowWords]uint64{}
		return
	}
	for from <= to {
		word, bit := place(from)
		mask := -bit // this bit and those above
		next := (from | 63) + 1
		if next > to { // the last word: only up to to's bit
			_, last := place(to)
			mask &= last | (last - 1)
		}
		w.seen[word] &^= mask
		from = next
	}
}

func place(c uint64) (word int, bit uint64) {
	return int(c / 64 % windowWords), 1 << (c % 64)
}
