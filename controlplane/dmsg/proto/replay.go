package proto

import (
	"sync"
	"time"
)

// A Replay tells requests that were seen before from new ones. Boards have bad
// clocks, so the timestamp itself is never held against one: only a repetition of
// the same source, timestamp and signature inside the window is refused. All three
// are in the request's hash, which is what is remembered; a signature has one form
// only (see cipher.ErrSigHighS), so nobody can make a second hash from a request.
//
// Safe for concurrent use.
type Replay struct {
	window time.Duration
	limit  int
	now    func() time.Time

	mu       sync.Mutex
	cur, old map[[32]byte]struct{}
	since    time.Time // when cur was begun
}

// NewReplay returns a Replay that remembers a request for at least window, unless
// more than limit new ones arrive in that time: memory is bounded by 2·limit
// hashes, about 100 bytes each, and the oldest go first. now is the clock.
func NewReplay(window time.Duration, limit int, now func() time.Time) *Replay {
	return &Replay{window: window, limit: limit, now: now, cur: map[[32]byte]struct{}{}, since: now()}
}

// Check records the request with that hash and returns nil, or [ErrReqTimestamp]
// where it is a repetition. Ask it last, after [Signed.Request] and the checks of
// the keys: what is forged must not be remembered.
func (r *Replay) Check(hash [32]byte) error {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age(now)
	if _, seen := r.cur[hash]; seen {
		return ErrReqTimestamp
	}
	if _, seen := r.old[hash]; seen {
		return ErrReqTimestamp
	}
	r.cur[hash] = struct{}{}
	return nil
}

// age starts a new generation where the current one is full or a window old, and
// forgets the one before. mu is held.
func (r *Replay) age(now time.Time) {
	elapsed := now.Sub(r.since)
	if elapsed < r.window && len(r.cur) < r.limit {
		return
	}
	r.old = r.cur
	if elapsed >= 2*r.window {
		r.old = nil
	}
	r.cur, r.since = map[[32]byte]struct{}{}, now
}
