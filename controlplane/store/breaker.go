package store

import (
	"sync/atomic"
	"time"
)

// breakFor is how long a shard is left alone after a call to it has timed out.
const breakFor = 500 * time.Millisecond

// A breaker keeps callers from waiting, one after the other, for a server that
// hangs: after a time-out calls fail at once, but for one each breakFor that tries.
// Refused connections need none, they fail at once by themselves. The zero value
// lets everything pass. Its methods may be called concurrently.
type breaker struct {
	until atomic.Int64 // Unix ns of the next trial; 0: no trouble
}

// allow says whether a call may be made now.
func (b *breaker) allow(now time.Time) bool {
	u := b.until.Load()
	if u == 0 {
		return true
	}
	// Whoever moves the time on is the one that tries.
	return now.UnixNano() >= u && b.until.CompareAndSwap(u, now.Add(breakFor).UnixNano())
}

// done tells how the call went.
func (b *breaker) done(timedOut bool, now time.Time) {
	switch {
	case timedOut:
		b.until.Store(now.Add(breakFor).UnixNano())
	case b.until.Load() != 0:
		b.until.Store(0)
	}
}
