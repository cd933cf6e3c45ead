package transport

import (
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A limiter lets each key do something burst times at once, and then once in every
// interval. It remembers a bounded number of keys: where more come, all of the old ones
// begin anew, which is better than to refuse strangers.
type limiter struct {
	burst int
	every time.Duration

	mu   sync.Mutex
	keys map[cipher.PubKey]time.Time // when the bucket is full again
}

// maxLimited bounds the keys of a limiter, about 100 bytes each.
const maxLimited = 4096

func newLimiter(burst int, every time.Duration) *limiter {
	return &limiter{burst: burst, every: every, keys: map[cipher.PubKey]time.Time{}}
}

// allow reports whether pk may do it now.
func (l *limiter) allow(pk cipher.PubKey, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.keys[pk]
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if full.Sub(now) > time.Duration(l.burst)*l.every {
		return false
	}
	if len(l.keys) >= maxLimited {
		for k, at := range l.keys {
			if at.Before(now) {
				delete(l.keys, k)
			}
		}
		if len(l.keys) >= maxLimited {
			clear(l.keys)
		}
	}
	l.keys[pk] = full
	return true
}
