package link

// figures say how well a link carries what the neighbour sends to us, by a look each
// second; guarded by Link.mu.
type figures struct {
	at       int64  // of the last look, on the engine's clock; 0: none yet
	expected uint64 // frames that the neighbour had sent by then, by their counters
	opened   uint64 // frames that had arrived
	bytes    uint64 // of route packets that had arrived
	loss     float64
	mbps     float64
}

const (
	figuresEvery = second
	// lossFrames is how many frames between two looks say something about loss.
	lossFrames = 20
	// rateKept is what a second leaves of the best rate seen: half of it after a little
	// more than two minutes. It is to say what the link can do, and idle links do little.
	rateKept = 0.995
)

// look takes the totals at now.
func (f *figures) look(now int64, expected, opened, bytes uint64) {
	if f.at == 0 {
		*f = figures{at: now, expected: expected, opened: opened, bytes: bytes}
		return
	}
	f.mbps = max(f.mbps*rateKept, float64(bytes-f.bytes)*8e3/float64(now-f.at))
	f.at, f.bytes = now, bytes
	sent, came := expected-f.expected, opened-f.opened
	if sent < lossFrames {
		return // it goes on adding up
	}
	// What is late is not lost, and makes up for it the next time.
	f.loss += (1 - min(float64(came)/float64(sent), 1) - f.loss) / 4
	f.expected, f.opened = expected, opened
}

// sawCounter notes that a frame with counter fresh-1 has been opened. The key's worker
// calls it once for each run of frames.
func (k *rxKey) sawCounter(fresh uint64) {
	if fresh > k.top {
		k.link.rxExpected.Add(fresh - k.top)
		k.top = fresh
	}
}
