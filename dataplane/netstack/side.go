package netstack

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A side is one direction of a socket: the lock that lets one call at a time
// through, the deadline, and the way to wake the call that waits.
//
// Everything that may end a wait pokes wake (data or space, a deadline, Close,
// failure), and the caller looks again at what it waits for. A poke that nobody
// awaits is kept, so none is lost between looking and waiting.
type side struct {
	mu   sync.Mutex // held by the call that uses this direction
	wake chan struct{}
	tick *time.Timer // bounds a wait; made when first needed

	deadline atomic.Int64 // Unix nanoseconds, 0 for none
	timerMu  sync.Mutex
	timer    *time.Timer
}

func (s *side) init() { s.wake = make(chan struct{}, 1) }

// poke lets the waiting call look again. It never blocks.
func (s *side) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wait waits for a poke, or for d if that is not 0. The caller holds s.mu.
func (s *side) wait(d time.Duration) {
	if d == 0 {
		<-s.wake
		return
	}
	if s.tick == nil {
		s.tick = time.NewTimer(d)
	} else {
		s.tick.Reset(d)
	}
	select {
	case <-s.wake:
		s.tick.Stop()
	case <-s.tick.C:
	}
}

// expired returns os.ErrDeadlineExceeded once the deadline has passed.
func (s *side) expired() error {
	if d := s.deadline.Load(); d != 0 && time.Now().UnixNano() >= d {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// setDeadline sets the deadline for calls present and future; the zero time is
// none.
func (s *side) setDeadline(t time.Time) {
	s.timerMu.Lock()
	defer s.timerMu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if t.IsZero() {
		s.deadline.Store(0)
		return
	}
	s.deadline.Store(t.UnixNano())
	// A timer may fire a little before the wall clock says so: hence the extra
	// nanosecond, and the comparison with >= above.
	wait := time.Until(t) + 1
	if wait <= 0 {
		s.poke()
		return
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.expire)
	} else {
		s.timer.Reset(wait)
	}
}

// expire wakes the waiting call, or waits on if the wall clock lags the timer.
func (s *side) expire() {
	d := s.deadline.Load()
	if left := time.Until(time.Unix(0, d)); d != 0 && left > 0 {
		s.timerMu.Lock()
		s.timer.Reset(left)
		s.timerMu.Unlock()
		return
	}
	s.poke()
}

// stop releases the timer.
func (s *side) stop() {
	s.timerMu.Lock()
	defer s.timerMu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}
