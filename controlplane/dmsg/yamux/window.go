package yamux

import "time"

// A window is the receiving half's credit. It starts at InitialWindow, which the
// format fixes, and doubles when it is seen to be what holds the sender up.
//
// How that is seen: the bytes up to which the peer may send are a limit L. When a
// grant moves it, the sender was short of credit if a frame ends at L exactly (it
// spent its last byte), and the grant took until the next byte to reach the sender
// and to come back as data: one round trip of the whole path, relays included, which a
// ping cannot measure because a relay answers it. If during a good part of that
// time the reader stood waiting, a wider window would have filled the wait. Where
// the reader is slow, it does not wait; where the path is slow, bytes keep coming
// and it does not wait long; then the window stays.
//
// The owner's lock guards it.
type window struct {
	size    int64 // what credit and unread bytes add up to after a grant
	credit  int64 // what the peer may still send
	pending int64 // read and not granted again yet
	extra   int64 // of size, taken from the budget
	got     uint64

	probing   bool
	probe     uint64    // L: the limit before the grant under watch
	granted   time.Time // when that grant was sent
	waitSince time.Time // when the reader began to wait; zero unless probing then
}

// growthShare is the part of a round trip that the reader must have waited: below
// an eighth, the path is used to seven eighths and doubling buys little.
const growthShare = 8

func newWindow() window { return window{size: InitialWindow, credit: InitialWindow} }

// arrive accounts for a frame of n bytes and reports whether the peer had credit
// for it. waiting is whether the reader waits. A result of stalled asks for growth.
func (w *window) arrive(n int64, waiting bool) (ok, stalled bool) {
	if n > w.credit {
		return false, false
	}
	if w.probing && n > 0 && w.got+uint64(n) > w.probe {
		w.probing = false
		stalled = w.got == w.probe && waiting && w.waited(time.Now())
	}
	w.got += uint64(n)
	w.credit -= n
	return true, stalled
}

// waited reports whether the reader has stood waiting for a good part of the time
// since the grant.
func (w *window) waited(now time.Time) bool {
	since := w.granted
	if w.waitSince.After(since) {
		since = w.waitSince
	}
	return now.Sub(since)*growthShare >= now.Sub(w.granted)
}

// wait notes that the reader begins to wait.
func (w *window) wait() {
	w.waitSince = time.Time{}
	if w.probing {
		w.waitSince = time.Now()
	}
}

// read notes that n bytes were read and reports whether that calls for a grant:
// half a window at a time, so that updates stay few.
func (w *window) read(n int64) bool {
	w.pending += n
	return 2*w.pending >= w.size
}

// grow widens the window up to limit by what b allows, and reports whether it did.
func (w *window) grow(b *Budget, limit int64) bool {
	n := b.take(min(w.size, limit-w.size))
	w.size += n
	w.extra += n
	w.pending += n
	return n > 0
}

// grant returns the credit to send to the peer now.
func (w *window) grant() uint32 {
	n := w.pending
	if !w.probing {
		w.probing, w.probe, w.granted = true, w.got+uint64(w.credit), time.Now()
	}
	w.credit += n
	w.pending = 0
	return uint32(n) // at most size, which Config.Validate bounds
}

// close gives back what the budget lent.
func (w *window) close(b *Budget) {
	b.give(w.extra)
	w.extra = 0
}
