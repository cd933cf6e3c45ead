package session

import (
	"sync"
	"sync/atomic"
	"time"
)

// Limits of reassembly. The total is bounded twice: what one peer can pin, and
// what all peers together can.
const (
	maxOpen       = 64 // payloads of one session being put together
	maxPieces     = 64 // of one payload; 65,535 bytes over a 1,200-byte route are 57
	fragmentLife  = 5 * time.Second
	reassemblyMax = 16 << 20 // bytes, of all sessions of a Manager

	// reassemblyShare is what one session may take of that: peers who begin payloads
	// and never end them must not keep the others from theirs.
	reassemblyShare = reassemblyMax / 16
)

// A reassembler puts the fragmented payloads of one session together. The zero
// value is ready once budget is set. Safe for concurrent use: routes bring pieces
// on several workers.
type reassembler struct {
	budget *atomic.Int64 // bytes that all sessions have in use

	mu   sync.Mutex
	open map[uint32]*assembly
	held int // bytes of all in open
}

type assembly struct {
	buf     []byte
	have    int
	pieces  []span // disjoint, unordered: seldom more than one at a time is missing
	started time.Duration
}

type span struct{ from, to int }

// add takes one piece, which it copies. When it completes a payload, that is
// returned and the caller owns it. ok is false if the piece was refused: it
// overlaps another, contradicts the first about the total, or is one too many.
func (a *reassembler) add(f fragment, now time.Duration) (payload []byte, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	as := a.open[f.id]
	if as == nil {
		if as = a.begin(f, now); as == nil {
			return nil, false
		}
	}
	from, to := int(f.offset), int(f.offset)+len(f.piece)
	if len(as.buf) != int(f.total) || len(as.pieces) == maxPieces || as.overlaps(from, to) {
		return nil, false
	}
	copy(as.buf[from:], f.piece)
	as.pieces = append(as.pieces, span{from, to})
	if as.have += len(f.piece); as.have < len(as.buf) {
		return nil, true
	}
	a.end(f.id, as)
	return as.buf, true
}

func (a *reassembler) begin(f fragment, now time.Duration) *assembly {
	full := func() bool { return len(a.open) >= maxOpen || a.held+int(f.total) > reassemblyShare }
	if full() {
		a.sweep(now)
	}
	if full() {
		return nil
	}
	if a.budget.Add(int64(f.total)) > reassemblyMax {
		a.budget.Add(-int64(f.total))
		return nil
	}
	if a.open == nil {
		a.open = make(map[uint32]*assembly)
	}
	a.held += int(f.total)
	as := &assembly{buf: make([]byte, f.total), started: now}
	a.open[f.id] = as
	return as
}

func (a *reassembler) end(id uint32, as *assembly) {
	delete(a.open, id)
	a.held -= len(as.buf)
	a.budget.Add(-int64(len(as.buf)))
}

func (as *assembly) overlaps(from, to int) bool {
	for _, s := range as.pieces {
		if from < s.to && s.from < to {
			return true
		}
	}
	return false
}

// expire gives up on payloads that have waited too long for their pieces.
func (a *reassembler) expire(now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(now)
}

func (a *reassembler) sweep(now time.Duration) {
	for id, as := range a.open {
		if now-as.started >= fragmentLife {
			a.end(id, as)
		}
	}
}

// close gives everything up.
func (a *reassembler) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, as := range a.open {
		a.end(id, as)
	}
}
