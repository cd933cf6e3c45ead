package relay

import "time"

const (
	// stallLimit is how long a sender waits for a full queue at most. Of a sender
	// that has other receivers too, a receiver may take stallLimit at once and one
	// part in stallShare of the time in the long run.
	stallLimit = 500 * time.Millisecond
	stallShare = 5
)

// cutOff resets the streams of s whose other end is at to, which takes too little.
// ended are circuits of s that ended with frames which to did not get.
func (s *session) cutOff(to *session, ended []*circuit) {
	var cut []*circuit
	s.mu.Lock()
	for id, c := range s.circuits {
		if c.stage.Load() == passing && c.ends[sideOf(id)^1].session == to {
			cut = append(cut, c)
		}
	}
	s.mu.Unlock()
	for _, c := range cut {
		if c.kill(-1, ResetStalled) {
			c.unlink()
		}
	}
	for _, c := range ended {
		for i := range c.ends {
			if c.ends[i].session == to {
				to.reset(c.ends[i].id)
			}
		}
	}
}

// feedsOthers reports whether s has streams to other sessions than to.
func (s *session) feedsOthers(to *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.circuits {
		if c.stage.Load() == passing && c.ends[sideOf(id)^1].session != to {
			return true
		}
	}
	return false
}

// sendLater is send for what has found no room.
func (s *session) sendLater(from *session, vecs [][]byte) bool {
	o := &s.out
	others := from.feedsOthers(s)
	var waited time.Duration
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.dead {
		if vecs = o.fill(vecs); len(vecs) == 0 {
			break
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room, limit := o.room, stallLimit-waited
		if others {
			limit = min(limit, o.stall.left(time.Now()))
		}
		o.waiting++
		o.mu.Unlock()
		spent, ok := from.waitFor(room, limit)
		o.mu.Lock()
		o.stall.spend(time.Now(), spent/time.Duration(o.waiting))
		o.waiting--
		waited += spent
		if !ok {
			return o.dead
		}
	}
	return true
}

// waitFor waits until room is closed, at most for limit, and returns how long that
// took. false means that it was not closed in time.
func (s *session) waitFor(room chan struct{}, limit time.Duration) (time.Duration, bool) {
	if limit <= 0 {
		return 0, false
	}
	begin := time.Now()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-room:
		return time.Since(begin), true
	case <-s.done:
		return time.Since(begin), false
	case <-t.C:
		return limit, false
	}
}

// A stallBudget bounds which share of their time senders spend waiting for one
// receiver. The zero value is full.
type stallBudget struct {
	used time.Duration
	at   time.Time
}

// left returns how long somebody may wait now.
func (b *stallBudget) left(now time.Time) time.Duration {
	b.used = max(0, b.used-now.Sub(b.at)/stallShare)
	b.at = now
	return stallLimit - b.used
}

// spend notes that somebody has waited for d.
func (b *stallBudget) spend(now time.Time, d time.Duration) {
	b.left(now)
	b.used += d
}
