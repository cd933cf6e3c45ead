package relay

import (
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// Window updates mostly pass through like any frame. Two queues change that.
//
// The granting session's own queue: a receiver that does not keep up still grants
// what it has read earlier. Above queueHalf its grants are held, so that its senders
// run dry; below that they are let go as far as the queue has room up to half, and
// entirely when it is empty.
//
// The queue of the session that gets the credit: so that nobody can fill it with
// updates, a circuit has one update in it at a time, and what comes meanwhile is
// added up (owed).

// give handles a grant of n bytes from the end side of c, which is this session's,
// that could not go in a run.
func (s *session) give(c *circuit, side int, n uint32) {
	o := &s.out
	o.mu.Lock()
	if o.level.Load() > queueHalf && !o.dead {
		e := &c.ends[side]
		e.held = uint32(min(uint64(e.held)+uint64(n), maxCredit))
		if !e.holding {
			e.holding = true
			o.heldList = append(o.heldList, ref{c, side})
		}
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	c.grant(side, n)
}

// takeHeld takes what may now be let go off the held grants. o.mu is held.
func (o *outbox) takeHeld() []grant {
	if len(o.heldList) == 0 {
		return nil
	}
	level := int64(o.level.Load())
	room := int64(queueHalf) - level
	if level == 0 {
		room = 1 << 62
	}
	var out []grant
	for len(o.heldList) > 0 && room > 0 {
		r := o.heldList[0]
		e := &r.c.ends[r.side]
		n := uint32(min(room, int64(e.held)))
		e.held -= n
		room -= int64(n)
		if n > 0 {
			out = append(out, grant{r.c, r.side, n})
		}
		if e.held > 0 {
			break
		}
		e.holding = false
		o.heldList = o.heldList[1:]
	}
	return out
}

// grant gives n bytes of credit from the end side to the other one, through that
// end's queue. The caller holds no outbox's lock.
func (c *circuit) grant(side int, n uint32) {
	e := &c.ends[side^1]
	o := &e.session.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.stage.Load() == ended || o.dead {
		return
	}
	if n = e.earn(n); n == 0 {
		return
	}
	e.owed += n // both together are at most maxCredit
	if !e.listed {
		e.listed = true
		o.owed = append(o.owed, ref{c, side ^ 1})
	}
	o.payOwed()
}

// payOwed queues the owed credit, unless some from last time still stands in the
// queue. o.mu is held.
func (o *outbox) payOwed() {
	if len(o.owed) == 0 || o.written < o.owedAt {
		return
	}
	frames := make([]byte, 0, len(o.owed)*yamux.HeaderLen)
	for _, r := range o.owed {
		e := &r.c.ends[r.side]
		if r.c.stage.Load() != ended {
			var head [yamux.HeaderLen]byte
			yamux.Header{Type: yamux.TypeWindowUpdate, StreamID: e.id, Length: e.owed}.Put(head[:])
			frames = append(frames, head[:]...)
		}
		e.owed, e.listed = 0, false
	}
	o.owed = o.owed[:0]
	o.put(frames)
	o.owedAt = o.enqueued
}
