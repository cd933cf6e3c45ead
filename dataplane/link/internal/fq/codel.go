package fq

import "math"

// CoDel's constants in ns, RFC 8289 section 4.2 and 4.3.
const (
	Target   int64 = 5e6
	Interval int64 = 100e6
)

// codel is the state of RFC 8289 section 5 for one flow. The zero value is ready.
type codel struct {
	firstAbove int64 // when the sojourn time will have been high for an Interval; 0: it is low
	dropNext   int64 // when to drop next, while dropping
	count      uint32
	last       uint32 // count when the dropping before this one ended
	dropping   bool
}

// drop says whether to drop the first item of the flow, which has waited for
// sojourn. last: no other item is behind it. The caller drops it and asks again
// about the next one until the answer is no. It is never yes for a last item: one
// item on a slow line may well take longer than Target, and somebody must get
// through.
func (c *codel) drop(now, sojourn int64, last bool) bool {
	high := c.high(now, sojourn, last)
	switch {
	case c.dropping && !high:
		c.dropping = false
		return false
	case c.dropping:
		if now < c.dropNext {
			return false
		}
		c.count++
		c.dropNext += c.step()
		return true
	case !high:
		return false
	}
	// Start dropping. Where that ended a short while ago, go on at the rate that
	// was found right then (RFC 8289 section 5.4).
	c.dropping = true
	if delta := c.count - c.last; delta > 1 && now-c.dropNext < 16*Interval {
		c.count = delta
	} else {
		c.count = 1
	}
	c.last = c.count
	c.dropNext = now + c.step()
	return true
}

// high reports whether the sojourn time has been above Target for an Interval.
func (c *codel) high(now, sojourn int64, last bool) bool {
	if sojourn < Target || last {
		c.firstAbove = 0
		return false
	}
	if c.firstAbove == 0 {
		c.firstAbove = now + Interval
		return false
	}
	return now >= c.firstAbove
}

// step is the time to the next drop: it shrinks with the square root of the count,
// which is what makes the rate of a TCP flow fall linearly.
func (c *codel) step() int64 { return int64(float64(Interval) / math.Sqrt(float64(c.count))) }
