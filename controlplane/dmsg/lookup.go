package dmsg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// entryLife is how long an entry is taken for true: dials to one peer come in
	// bursts. A dial that fails looks again before it gives up.
	entryLife = 30 * time.Second
	// absentLife is the same for "there is none".
	absentLife = time.Second
	// lookupPatience is how long an older entry waits for a newer one: a discovery that is
	// cut off says nothing at all, and dials to known peers must not wait for that.
	lookupPatience = time.Second
	// lookupTimeout bounds one question to the discovery.
	lookupTimeout = 10 * time.Second
	// maxLookups bounds the entries that are remembered, about 1 KiB each.
	maxLookups = 1024
)

// lookups asks the discovery for entries, each once however many dials want it, and
// remembers the answers for a short while.
type lookups struct {
	dir   disc.Directory
	ctx   context.Context // of the client: a question outlives who asked first
	start func(func()) bool

	mu      sync.Mutex
	entries map[cipher.PubKey]*lookup
}

// A lookup is a question and, once done is closed, its answer.
type lookup struct {
	old   *disc.Entry // what was known before, or nil
	done  chan struct{}
	entry *disc.Entry
	err   error
	at    time.Time // when the answer came
}

// get returns the entry of pk, not older than maxAge where the discovery answers. If
// it does not, or not soon, an older entry that is still remembered must do. The error is
// proto.ErrNoEntry if the discovery says that there is none.
func (l *lookups) get(ctx context.Context, pk cipher.PubKey, maxAge time.Duration) (*disc.Entry, error) {
	q, err := l.ask(pk, maxAge)
	if err != nil {
		return nil, err
	}
	var late <-chan time.Time
	if q.old != nil {
		timer := time.NewTimer(lookupPatience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-q.done:
		return q.entry, q.err
	case <-late:
		return q.old, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("dmsg: look-up of %s: %w", pk, context.Cause(ctx))
	}
}

// ask returns the question under way, the answer that is remembered, or a new question.
func (l *lookups) ask(pk cipher.PubKey, maxAge time.Duration) (*lookup, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.entries[pk]
	if old != nil && old.fresh(maxAge) {
		return old, nil
	}
	if old == nil && len(l.entries) >= maxLookups {
		l.evict()
	}
	q := &lookup{done: make(chan struct{})}
	if old != nil { // it has been answered, or it would be fresh
		q.old = old.entry
	}
	if !l.start(func() { l.answer(pk, q) }) {
		return nil, ErrClosed
	}
	l.entries[pk] = q
	return q, nil
}

// fresh reports whether q is under way or answered lately.
func (q *lookup) fresh(maxAge time.Duration) bool {
	select {
	case <-q.done:
	default:
		return true
	}
	if q.err != nil {
		maxAge = min(maxAge, absentLife)
	}
	return time.Since(q.at) < maxAge
}

// answer asks the discovery.
func (l *lookups) answer(pk cipher.PubKey, q *lookup) {
	defer close(q.done)
	ctx, cancel := context.WithTimeout(l.ctx, lookupTimeout)
	defer cancel()
	q.entry, q.err = l.dir.Entry(ctx, pk)
	q.at = time.Now()
	switch {
	case q.err == nil:
	case errors.Is(q.err, disc.ErrNotFound):
		q.entry, q.err = nil, proto.ErrNoEntry
	case q.old != nil:
		// The discovery is away. Sessions that live on are found by what it said last;
		// it is asked again soon.
		q.entry, q.err, q.at = q.old, nil, q.at.Add(absentLife-entryLife)
	default:
		q.entry, q.err = nil, fmt.Errorf("dmsg: look-up of %s: %w", pk, q.err)
	}
}

// evict forgets an old answer, or any if none is old. mu is held.
func (l *lookups) evict() {
	var any cipher.PubKey
	for pk, q := range l.entries {
		any = pk
		if !q.fresh(entryLife) {
			break
		}
	}
	delete(l.entries, any)
}
