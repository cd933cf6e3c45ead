package relay

import (
	"encoding/binary"
	"sync"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

const (
	// headroom is what stands in front of the bytes that a read brings: the part of
	// a header that the last read brought, or the header that a frame's rest gets.
	// More than that keeps the bytes aligned.
	headroom = 64
	// batchSize is how much one read takes, in bytes: measured on loopback, more
	// does not spare anything and leaves the cache.
	batchSize = 128 << 10
	// maxRuns bounds the runs of a batch before they are sent.
	maxRuns = 64
)

// A batch is what one read brought and where its frames go. Its memory is borrowed
// from a pool by the reader that fills it.
type batch struct {
	buf    [headroom + batchSize]byte
	runs   []run         // frames to pass on, in their order
	vecs   [][]byte      // scratch of flush
	grants []grant       // credit that cannot go in a run
	ended  []*circuit    // to be unlinked
	answer []byte        // frames for the peer itself, which its own called for
	wait   chan struct{} // what the next frame has to wait for, or nil
}

// A run is a stretch of the batch, whole frames, that goes to one session.
type run struct {
	to        *session
	from, end int
}

// A grant is credit that the end side of a circuit gives to the other end.
type grant struct {
	c    *circuit
	side int
	n    uint32
}

// newBatches returns the pool. At its worst it holds one batch for each session
// that is being read at the same moment; the garbage collector takes what is idle.
func newBatches() *sync.Pool {
	return &sync.Pool{New: func() any {
		return &batch{
			runs: make([]run, 0, maxRuns), vecs: make([][]byte, 0, maxRuns),
			grants: make([]grant, 0, maxRuns), ended: make([]*circuit, 0, maxRuns),
			answer: make([]byte, 0, maxRuns*yamux.HeaderLen),
		}
	}}
}

// full reports whether the batch must be flushed before another frame.
func (b *batch) full() bool {
	return len(b.runs) == maxRuns || len(b.grants) == maxRuns || len(b.ended) >= maxRuns || len(b.answer) == cap(b.answer)
}

// add notes that buf[from:end], whole frames, goes to a session.
func (b *batch) add(to *session, from, end int) {
	if n := len(b.runs); n > 0 && b.runs[n-1].to == to && b.runs[n-1].end == from {
		b.runs[n-1].end = end
		return
	}
	b.runs = append(b.runs, run{to, from, end})
}

// flush sends the answers and the runs, one write for each session, hands out the
// grants and unlinks what has ended. The batch is from's; its reader calls this without a lock
// and may be held back here by a receiver's full queue.
func (b *batch) flush(from *session) {
	if len(b.answer) > 0 {
		from.controlBytes(b.answer)
		b.answer = b.answer[:0]
	}
	for i := range b.runs {
		to := b.runs[i].to
		if to == nil {
			continue
		}
		b.vecs = b.vecs[:0]
		for j := i; j < len(b.runs); j++ {
			if r := &b.runs[j]; r.to == to {
				b.vecs = append(b.vecs, b.buf[r.from:r.end:r.end])
				r.to = nil
			}
		}
		if !to.send(from, b.vecs) {
			from.cutOff(to, b.ended)
		}
	}
	b.runs = b.runs[:0]
	clear(b.vecs[:cap(b.vecs)])
	for _, g := range b.grants {
		g.c.ends[g.side].session.give(g.c, g.side, g.n)
	}
	clear(b.grants)
	b.grants = b.grants[:0]
	for _, c := range b.ended {
		c.unlink()
	}
	clear(b.ended)
	b.ended = b.ended[:0]
}

// frameLen returns the length of the frame at the start of b, of which the header
// must be there.
func frameLen(b []byte) int {
	n := yamux.HeaderLen
	if yamux.Type(b[1]) == yamux.TypeData {
		n += int(binary.BigEndian.Uint32(b[8:]))
	}
	return n
}
