package httpauth

import (
	"crypto/sha256"
	"sync"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A mark stands for a request.
type mark [16]byte

func markOf(pk cipher.PubKey, digest [32]byte) mark {
	sum := sha256.Sum256(append(append(make([]byte, 0, cipher.PubKeyLen+32), pk[:]...), digest[:]...))
	return mark(sum[:16])
}

// A replay remembers the requests of the window, by the second of their time, and
// forgets whole seconds once they are out of it. It never forgets early what it would
// then take again: where it is full, it takes nothing any more of the oldest second
// and forgets that. Callers are told that their clock is behind, and come again.
type replay struct {
	max int

	mu      sync.Mutex
	seconds map[int64]map[mark]struct{} // by Unix second
	n       int
	floor   int64 // Unix ms: nothing from before is taken
}

func newReplay(max int, floor int64) *replay {
	return &replay{max: max, seconds: make(map[int64]map[mark]struct{}), floor: floor}
}

// windowMS is the Window in ms.
const windowMS = int64(Window / 1e6)

// fresh says whether a request of time ms can be taken at now.
func (r *replay) fresh(ms, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ms >= r.floor && ms >= now-windowMS && ms <= now+windowMS
}

// has says whether the request of time ms is known.
func (r *replay) has(m mark, ms int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.seconds[ms/1000][m]
	return ok
}

// add remembers a request. It fails with ErrReplay where it is known, by a race of
// two, and with ErrUnavailable where there is no room.
func (r *replay) add(m mark, ms, now int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ms < r.floor {
		return deployment.ErrUnavailable // the floor rose meanwhile
	}
	if _, ok := r.seconds[ms/1000][m]; ok {
		return deployment.ErrReplay
	}
	if r.n >= r.max && !r.room(now) || ms < r.floor {
		return deployment.ErrUnavailable.With("too many signed requests at the moment")
	}
	s := r.seconds[ms/1000]
	if s == nil {
		s = make(map[mark]struct{})
		r.seconds[ms/1000] = s
		r.forget(now)
	}
	s[m] = struct{}{}
	r.n++
	return nil
}

// forget drops the seconds that are out of the window. mu is held.
func (r *replay) forget(now int64) {
	for sec, marks := range r.seconds {
		if sec*1000+999 < now-windowMS {
			r.n -= len(marks)
			delete(r.seconds, sec)
			r.floor = max(r.floor, (sec+1)*1000)
		}
	}
}

// room gives up the oldest second, if that is in the past. mu is held.
func (r *replay) room(now int64) bool {
	r.forget(now)
	if r.n < r.max {
		return true
	}
	oldest := now / 1000
	for sec := range r.seconds {
		oldest = min(oldest, sec)
	}
	if oldest >= now/1000 {
		return false
	}
	r.n -= len(r.seconds[oldest])
	delete(r.seconds, oldest)
	r.floor = max(r.floor, (oldest+1)*1000)
	return true
}
