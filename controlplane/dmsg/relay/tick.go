package relay

import (
	"context"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// One goroutine looks at all sessions, in place of timers for each: every second at
// the deadlines of set-ups, every tickSlots seconds at a session's signs of life.
const (
	tickEvery = time.Second
	tickSlots = 10
	// A session that brings nothing for pingAfter turns of tickSlots seconds is
	// pinged, and closed if that brings nothing for two more.
	pingAfter  = 3
	closeAfter = pingAfter + 2
)

// life is what the ticker remembers of a session.
type life struct {
	slot    int
	batches uint32
	silent  int    // turns without anything from the peer
	written uint64 // of the outbox
	stuck   bool   // something was queued at the last turn
}

func (srv *Server) tick(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		srv.turn(n % tickSlots)
	}
}

// turn looks at every session's set-ups, and at the life of those in the slot.
func (srv *Server) turn(slot int) {
	now := time.Now()
	for _, s := range srv.all() {
		if s.setups.Load() > 0 {
			s.expire(now)
		}
		if s.life.slot == slot {
			if why := s.sign(); why != ReasonNone {
				s.close(why)
			}
		}
	}
	if slot == 0 {
		srv.gate.tidy(now)
	}
}

// sign looks for signs of life, once in tickSlots seconds.
func (s *session) sign() Reason {
	l := &s.life
	s.mu.Lock()
	s.refused = 0
	s.mu.Unlock()
	s.forged.Store(0)

	o := &s.out
	o.mu.Lock()
	written, queued := o.written, o.level.Load() > 0
	o.mu.Unlock()
	if queued && l.stuck && written == l.written {
		return EndedNotReading
	}
	l.written, l.stuck = written, queued

	if b := s.batches.Load(); b != l.batches {
		l.batches, l.silent = b, 0
		return ReasonNone
	}
	switch l.silent++; {
	case l.silent == pingAfter:
		s.control(yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagSYN, Length: l.batches}, nil)
	case l.silent >= closeAfter:
		return EndedSilent
	}
	return ReasonNone
}

// expire ends the set-ups that the session dials and whose time is over.
func (s *session) expire(now time.Time) {
	var late []*circuit
	s.mu.Lock()
	for id, c := range s.circuits {
		if sideOf(id) == dialer && c.late(now) {
			late = append(late, c)
		}
	}
	s.mu.Unlock()
	for _, c := range late {
		if c.kill(-1, ResetTimeout) {
			c.unlink()
		}
	}
}

func (c *circuit) late(now time.Time) bool {
	if c.stage.Load() >= passing {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setup != nil && now.After(c.setup.deadline)
}
