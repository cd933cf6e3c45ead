package session

import "time"

// Sizes of a sentLog, in sends: what a quick start needs, and 8 s of a send each
// millisecond.
const (
	sentLogFirst = 256
	sentLogMost  = 8192
)

// A sentLog remembers which packets left on a route and when, from the last that is
// reported to have arrived on. The zero value is ready.
type sentLog struct {
	runs       []sentRun // a ring; its length is a power of two
	head, tail uint32    // runs[head..tail) modulo the length
	packets    uint64    // sent in all
	bytes      uint64
	arrived    uint64 // bytes sent up to the last packet reported
}

// A sentRun is packets that left at once, with numbers in a row.
type sentRun struct {
	seq            uint32 // of the first
	n              uint32
	size           uint32 // bytes of all of them
	packets, bytes uint64 // sent before
	at             time.Duration
}

// upTo returns what had been sent when packet seq had. All packets of a run but the
// last are of one size, so this is right to within one.
func (r sentRun) upTo(seq uint32) (packets, bytes uint64) {
	k := uint64(seq - r.seq + 1)
	return r.packets + k, r.bytes + uint64(r.size)*k/uint64(r.n)
}

func (l *sentLog) add(at time.Duration, seq uint32, n, bytes int) {
	if l.tail-l.head == uint32(len(l.runs)) {
		l.grow()
	}
	l.runs[l.tail&uint32(len(l.runs)-1)] = sentRun{
		seq: seq, n: uint32(n), size: uint32(bytes), packets: l.packets, bytes: l.bytes, at: at,
	}
	l.tail++
	l.packets += uint64(n)
	l.bytes += uint64(bytes)
}

// grow makes room for more, or forgets the oldest where there has been room enough.
func (l *sentLog) grow() {
	if len(l.runs) == sentLogMost {
		l.head++
		return
	}
	runs := make([]sentRun, max(sentLogFirst, 2*len(l.runs)))
	n := uint32(0)
	for i := l.head; i != l.tail; i++ {
		runs[n] = l.runs[i&uint32(len(l.runs)-1)]
		n++
	}
	l.runs, l.head, l.tail = runs, 0, n
}

// find returns the run with packet seq and forgets those before it. Numbers compare as
// in RFC 1982: whoever reports them may say anything.
func (l *sentLog) find(seq uint32) (sentRun, bool) {
	for i := l.head; i != l.tail; i++ {
		r := l.runs[i&uint32(len(l.runs)-1)]
		if int32(seq-r.seq) < 0 {
			break // between two runs, or before all of them
		}
		if seq-r.seq < r.n {
			l.head = i
			_, bytes := r.upTo(seq)
			l.arrived = max(l.arrived, bytes)
			return r, true
		}
	}
	return sentRun{}, false
}

// flight returns the bytes under way: sent after the last packet that is known to have
// arrived. What was lost before that is not.
func (l *sentLog) flight() uint64 { return l.bytes - l.arrived }

// giveUp takes nothing for under way any more. Reports of it still count.
func (l *sentLog) giveUp() { l.arrived = l.bytes }
