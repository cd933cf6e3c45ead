package link

import "sync/atomic"

// A bucket is a token bucket in one word (GCRA): the time at which it would be full
// again. Safe for concurrent use, no lock.
type bucket struct {
	rate  int64 // tokens per second
	depth int64 // most tokens at once
	full  atomic.Int64
}

// take removes a token, if there is one at time now (ns).
func (b *bucket) take(now int64) bool {
	each := second / b.rate
	for {
		full := b.full.Load()
		next := max(full, now) + each
		if next-now > b.depth*each {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}
