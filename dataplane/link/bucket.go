package link

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

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

// placeBuckets give each place a bucket of its own, without remembering places: they
// are spread over a fixed table by a hash that nobody outside can predict, and places
// that fall together share. 12 KiB.
type placeBuckets struct {
	seed    maphash.Seed
	buckets [512]bucket
}

func newPlaceBuckets(rate, depth int64) *placeBuckets {
	p := &placeBuckets{seed: maphash.MakeSeed()}
	for i := range p.buckets {
		p.buckets[i].rate, p.buckets[i].depth = rate, depth
	}
	return p
}

func (p *placeBuckets) take(at netip.Prefix, now int64) bool {
	return p.buckets[maphash.Comparable(p.seed, at)%uint64(len(p.buckets))].take(now)
}
