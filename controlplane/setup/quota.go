package setup

import (
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A quota lets each key do something at a rate, with bursts, and so many times at once.
type quota struct {
	limits NodeLimits

	mu   sync.Mutex
	keys map[cipher.PubKey]*allowance
}

// An allowance is what one key has left: tokens at the time at, and a place for each
// that is under way.
type allowance struct {
	tokens float64
	at     time.Time
	active int
}

func newQuota(l NodeLimits) *quota { return &quota{limits: l, keys: map[cipher.PubKey]*allowance{}} }

// start says whether pk may begin one more at now; done has to be called where it may.
func (q *quota) start(pk cipher.PubKey, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.keys[pk]
	if a == nil {
		if len(q.keys) >= q.limits.Sources && !q.forget(now) {
			return false
		}
		a = &allowance{tokens: float64(q.limits.Burst), at: now}
		q.keys[pk] = a
	}
	a.tokens, a.at = q.refilled(a, now), now
	if a.tokens < 1 || a.active >= q.limits.Concurrent {
		return false
	}
	a.tokens--
	a.active++
	return true
}

func (q *quota) done(pk cipher.PubKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.keys[pk].active--
}

func (q *quota) refilled(a *allowance, now time.Time) float64 {
	return min(float64(q.limits.Burst), a.tokens+max(0, now.Sub(a.at).Seconds())*q.limits.Rate)
}

// forgetAtOnce is how many keys are looked at to make room for a new one.
const forgetAtOnce = 64

// forget makes room: of some keys, in the map's random order, those whose allowance is
// whole again. It reports whether there is room.
func (q *quota) forget(now time.Time) bool {
	looked := 0
	for pk, a := range q.keys {
		if a.active == 0 && q.refilled(a, now) >= float64(q.limits.Burst) {
			delete(q.keys, pk)
		}
		if looked++; looked == forgetAtOnce {
			break
		}
	}
	return len(q.keys) < q.limits.Sources
}
