package httpd

import (
	"math/rand/v2"
	"sync"
	"time"
)

// maxSources bounds what a Limiter remembers; some 100 bytes each.
const maxSources = 1 << 16

// A Limiter lets each source do something at a rate, with bursts. It may be used
// concurrently.
//
// It keeps one time per source, until which the source's allowance is used up (the
// generic cell rate algorithm of ITU-T I.371, as a virtual schedule).
type Limiter struct {
	interval time.Duration // between two of a steady flow; 0: no limit
	slack    time.Duration // how far ahead of the schedule a burst may run

	mu   sync.Mutex
	used map[Source]time.Duration // since start
	from time.Time
}

// NewLimiter returns a limiter of rate per second and bursts of burst; a rate of 0
// or less limits nothing. now is the present time of the clock that Allow gets.
func NewLimiter(rate float64, burst int, now time.Time) *Limiter {
	l := &Limiter{used: make(map[Source]time.Duration), from: now}
	if rate > 0 {
		l.interval = max(1, time.Duration(float64(time.Second)/rate))
		l.slack = time.Duration(max(0, burst-1)) * l.interval
	}
	return l
}

// Allow says whether s may do it once more at the time now, and counts that.
func (l *Limiter) Allow(s Source, now time.Time) bool {
	if l.interval == 0 {
		return true
	}
	at := now.Sub(l.from)
	l.mu.Lock()
	defer l.mu.Unlock()
	until, known := l.used[s]
	if until < at {
		until = at
	}
	if until-at > l.slack {
		return false
	}
	if !known && len(l.used) >= maxSources {
		l.forget(at)
	}
	l.used[s] = until + l.interval
	return true
}

// forget makes room: of some sources, in the map's random order, those that would
// be allowed a whole burst again, and if there is none, any.
func (l *Limiter) forget(at time.Duration) {
	looked, full := 0, len(l.used)
	var last Source
	for s, until := range l.used {
		if until <= at {
			delete(l.used, s)
		}
		last = s
		if looked++; looked == 64 {
			break
		}
	}
	if len(l.used) == full {
		delete(l.used, last)
	}
}

// RetryAfter returns how many seconds a refused caller is told to wait: 1 to 5, at
// random, so that many do not come back at once.
func RetryAfter() int { return 1 + rand.IntN(5) }
