package yamux

import "time"

// A window is the receiving half's credit. It starts at InitialWindow, which the
// format fixes, and widens when it is seen to be what holds the sender up.
//
// How that is seen: the bytes up to which the peer may send are a limit L. When a
// grant moves it, the sender was short of credit if a frame ends at L exactly (it
// spent its last byte), and the grant took until the next byte to reach the sender
// and to come back as data: one round trip of the whole path, relays included, which a
// ping cannot measure because a relay answers it. The window is too narrow if the
// reader keeps up, and either
//   - it stands waiting and has done so for a good part of the trip: bytes come in
//     bursts; or
//   - the trip took hardly longer than the shortest: bytes come evenly, as some
//     senders pace them, but no queue stands on the way that a wider window would
//     only lengthen.
//
// Where the reader is slow, unread bytes stand here; where the path is slow, trips
// grow longer with the window: then the window stays.
//
// The owner's lock guards it.
type window struct {
	size    int64 // what credit and unread bytes add up to after a grant
	credit  int64 // what the peer may still send
	pending int64 // read and not granted again yet
	extra   int64 // of size, taken from the budget
	got     uint64

	probing   bool
	probe     uint64        // L: the limit before the grant under watch
	granted   time.Time     // when that grant was sent
	shortest  time.Duration // of the trips seen; 0: none yet
	waitSince time.Time     // when the reader began to wait; zero unless probing then
}

const (
	// growthShare is the part of a round trip that the reader must have waited:
	// below an eighth, the path is used to seven eighths and doubling buys little.
	growthShare = 8

	// A reader that waited for three quarters of a round trip or more was served for a
	// quarter at most: four times the window then at best fills the path.
	fastGrowth = 4
)

func newWindow() window { return window{size: InitialWindow, credit: InitialWindow} }

// arrive accounts for a frame of n bytes and reports whether the peer had credit
// for it. buffered bytes are unread; waiting is whether the reader waits for more.
// factor, if it is more than 1, is by how much the window should widen.
func (w *window) arrive(n, buffered int64, waiting bool) (ok bool, factor int64) {
	if n > w.credit {
		return false, 1
	}
	factor = 1
	if w.probing && n > 0 && w.got+uint64(n) > w.probe {
		w.probing = false
		if w.got == w.probe && (waiting || buffered < w.size/4) {
			factor = w.factor(time.Now(), waiting)
		}
	}
	w.got += uint64(n)
	w.credit -= n
	return true, factor
}

// factor judges the round trip that ends now, in which the reader kept up.
func (w *window) factor(now time.Time, waiting bool) int64 {
	since := now
	if waiting {
		since = w.granted
		if w.waitSince.After(since) {
			since = w.waitSince
		}
	}
	waited, trip := now.Sub(since), now.Sub(w.granted)
	if w.shortest == 0 || trip < w.shortest {
		w.shortest = trip
	}
	switch {
	case waited*fastGrowth >= trip*(fastGrowth-1):
		return fastGrowth
	case waited*growthShare >= trip, 2*trip <= 3*w.shortest:
		return 2
	}
	return 1
}

// wait notes that the reader begins to wait.
func (w *window) wait() {
	w.waitSince = time.Time{}
	if w.probing {
		w.waitSince = time.Now()
	}
}

// read notes that n bytes were read and reports whether that calls for a grant: half
// the first window at a time, so that updates stay few, and an eighth of a wide one,
// so that the part of it that stands at the receiver, ungranted, stays small.
func (w *window) read(n int64) bool {
	w.pending += n
	return w.pending >= max(InitialWindow/2, w.size/8)
}

// grow widens the window by factor as far as limit and b allow, and reports whether
// it did.
func (w *window) grow(factor int64, b *Budget, limit int64) bool {
	n := b.take(min((factor-1)*w.size, limit-w.size))
	w.size += n
	w.extra += n
	w.pending += n
	return n > 0
}

// yield gives bytes that were read back to b instead of to the peer, while b is
// scarce: so a window narrows in proportion to its width and its use, others widen by
// equal steps, and streams that came late get their share.
func (w *window) yield(b *Budget) {
	if w.extra == 0 || !b.scarce() {
		return
	}
	n := min(w.pending, w.extra)
	w.size -= n
	w.extra -= n
	w.pending -= n
	b.give(n)
}

// watch makes the grant that follows one under watch, unless another is. A grant that
// widens the window is never watched: its trip would judge the window as it was.
func (w *window) watch() {
	if !w.probing {
		w.probing, w.probe, w.granted = true, w.got+uint64(w.credit), time.Now()
	}
}

// grant returns the credit to send to the peer now.
func (w *window) grant() uint32 {
	n := w.pending
	w.credit += n
	w.pending = 0
	return uint32(n) // at most size, which Config.Validate bounds
}

// close gives back what the budget lent.
func (w *window) close(b *Budget) {
	b.give(w.extra)
	w.extra = 0
}
