package noise

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Limits say how long keys live. The rules and most figures are those of the
// WireGuard paper, sections 5.4 and 6.
type Limits struct {
	// RekeyAfter is the age at which the initiator of the current keys starts anew.
	RekeyAfter time.Duration
	// TakeoverAfter is the age at which their responder does, since the initiator
	// has evidently not.
	TakeoverAfter time.Duration
	// RejectAfter is the age at which nothing is sealed or opened any more.
	RejectAfter time.Duration
	// ConfirmWithin is how long a responder keeps keys that nothing has arrived
	// under: what a replayed first message can pin.
	ConfirmWithin time.Duration
	// RekeyPackets is the number of counters used on SendKey's own Counter at which
	// the initiator starts anew, whatever the age; the responder does at twice that.
	RekeyPackets uint64
}

// DefaultLimits returns the limits in production: 120 s, 130 s, 180 s, 5 s, 2^40.
func DefaultLimits() Limits {
	return Limits{
		RekeyAfter:    120 * time.Second,
		TakeoverAfter: 130 * time.Second,
		RejectAfter:   180 * time.Second,
		ConfirmWithin: 5 * time.Second,
		RekeyPackets:  1 << 40,
	}
}

// Validate fails with [ErrConfig] where the limits contradict each other.
func (l Limits) Validate() error {
	switch {
	case l.RekeyAfter <= 0 || l.ConfirmWithin <= 0 || l.RekeyPackets == 0:
		return fmt.Errorf("%w: limits must be positive", ErrConfig)
	case l.TakeoverAfter < l.RekeyAfter || l.RejectAfter <= l.TakeoverAfter:
		return fmt.Errorf("%w: limits must rise from rekey over takeover to reject", ErrConfig)
	case l.ConfirmWithin > l.RejectAfter:
		return fmt.Errorf("%w: keys cannot wait for confirmation longer than they live", ErrConfig)
	case l.RekeyPackets > MaxCounter/4:
		return fmt.Errorf("%w: rekeying after %d packets leaves no room", ErrConfig, l.RekeyPackets)
	}
	return nil
}

// WinsTie reports whether our handshake goes on where both sides began one at the
// same time: that of the smaller key does, so that both come to the same answer
// without a word. The winner ignores the loser's first message; the loser calls
// [Ring.Abort], forgets its own handshake and answers.
func WinsTie(mine, theirs cipher.PubKey) bool { return mine.Compare(theirs) < 0 }

// An Epoch is the time of one pair of transport keys. Everything but User is fixed
// before Install and shared from then on; what T holds and who may touch it is the
// user's affair (a link keeps its replay [Window] there, owned by its worker).
type Epoch[T any] struct {
	Send   *SendKey
	Recv   *RecvKey
	Local  uint32 // our receiver index: the peer puts it on what it sends
	Remote uint32 // the peer's, for what we send
	User   T

	made      time.Duration
	initiator bool
}

// NewEpoch makes the epoch of a finished handshake, ready to install. Keys for dmsg
// XK sessions go in Swapped.
func NewEpoch[T any](k Keys, local, remote uint32, user T) *Epoch[T] {
	return &Epoch[T]{Send: NewSendKey(k.Send), Recv: NewRecvKey(k.Recv), Local: local, Remote: remote, User: user}
}

// Made returns when the keys were installed.
func (e *Epoch[T]) Made() time.Duration { return e.made }

// Initiator reports whether we began the handshake that made the keys.
func (e *Epoch[T]) Initiator() bool { return e.initiator }

// A Ring holds the keys in use with one peer, at most three epochs:
//
//	next      we answered a handshake, and nothing has arrived under its keys yet
//	current   what we send with
//	previous  what may still arrive
//
// An initiator installs as current and sends something at once, which confirms. A
// responder installs as next; the first packet that it opens under those keys makes
// them current. So a replayed first message changes nothing that is in use, and
// nobody sends with keys that the peer has not got.
//
// Safe for concurrent use. SendEpoch, Lookup and Confirm of an epoch that is not
// next take no lock: one atomic load of a frozen snapshot.
type Ring[T any] struct {
	limits Limits
	drop   func(*Epoch[T])

	state atomic.Pointer[ringState[T]] // replaced whole under mu, never edited

	mu        sync.Mutex
	attempt   bool // a handshake of ours is on its way
	attemptAt time.Duration
}

type ringState[T any] struct{ next, current, previous *Epoch[T] }

// NewRing returns an empty ring. drop, if not nil, is called for each epoch that
// leaves the ring, exactly once, so that its index can be freed; it runs under the
// ring's lock and must not call back. A sender may still hold the epoch for the
// rest of its batch. It fails where limits are not valid.
func NewRing[T any](limits Limits, drop func(*Epoch[T])) (*Ring[T], error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if drop == nil {
		drop = func(*Epoch[T]) {}
	}
	r := &Ring[T]{limits: limits, drop: drop}
	r.state.Store(&ringState[T]{})
	return r, nil
}

// SendEpoch returns the keys to seal with, or nil if there are none young enough.
// Call it once per batch: a batch that takes longer than a moment would outlive
// the limit. From any goroutine.
func (r *Ring[T]) SendEpoch(now time.Duration) *Epoch[T] {
	return r.live(r.state.Load().current, now)
}

// Lookup returns the epoch in which the peer addresses us by index local, or nil.
// From any goroutine.
func (r *Ring[T]) Lookup(local uint32, now time.Duration) *Epoch[T] {
	s := r.state.Load()
	switch {
	case s.current != nil && s.current.Local == local:
		return r.live(s.current, now)
	case r.awaited(s.next, now) && s.next.Local == local:
		return s.next
	case s.previous != nil && s.previous.Local == local:
		return r.live(s.previous, now)
	}
	return nil
}

// Confirm is to be called with the epoch of every packet, or of every batch, that
// was opened and found authentic. If the epoch was next it becomes current, and
// true says that sending has moved to it. From any goroutine.
func (r *Ring[T]) Confirm(e *Epoch[T]) bool {
	if r.state.Load().next != e {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state.Load()
	if s.next != e || e == nil {
		return false // somebody was faster
	}
	r.set(ringState[T]{current: e, previous: s.current})
	return true
}

// InstallInitiator puts the keys of a handshake that we began in use at once and
// ends the attempt. The caller must now send something under them, data or a
// keep-alive, or the peer will never use them. e belongs to the ring from here on.
//
// An unconfirmed next becomes previous instead of current: the peer began that
// handshake and sends with its keys already.
func (r *Ring[T]) InstallInitiator(e *Epoch[T], now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.made, e.initiator = now, true
	s := r.state.Load()
	previous := s.current
	if r.awaited(s.next, now) {
		previous = s.next
	}
	r.attempt = false
	r.set(ringState[T]{current: e, previous: previous})
}

// InstallResponder keeps the keys of a handshake that the peer began as next, in
// the place of an older next. e belongs to the ring from here on.
func (r *Ring[T]) InstallResponder(e *Epoch[T], now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.made, e.initiator = now, false
	s := r.state.Load()
	r.set(ringState[T]{next: e, current: s.current, previous: s.previous})
}

// NeedRekey reports whether it is time for us to begin a handshake: never while
// one of ours is on its way or one of the peer's waits for confirmation. Without a
// current epoch there is nothing to renew, and it is the caller who knows whether
// it wants a first one.
func (r *Ring[T]) NeedRekey(now time.Duration) bool {
	s := r.state.Load()
	if s.current == nil || r.awaited(s.next, now) {
		return false
	}
	after, packets := r.limits.RekeyAfter, r.limits.RekeyPackets
	if !s.current.initiator {
		after, packets = r.limits.TakeoverAfter, 2*packets
	}
	if now-s.current.made < after && s.current.Send.Used() < packets {
		return false
	}
	_, busy := r.Attempt()
	return !busy
}

// Begin notes that we begin a handshake, and reports false if one is on its way.
// It ends with InstallInitiator or Abort.
func (r *Ring[T]) Begin(now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt {
		return false
	}
	r.attempt, r.attemptAt = true, now
	return true
}

// Attempt returns when the handshake of ours that is on its way began, if one is.
func (r *Ring[T]) Attempt() (began time.Duration, busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attemptAt, r.attempt
}

// Abort notes that our handshake failed, timed out or lost a tie. Without one it
// does nothing.
func (r *Ring[T]) Abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempt = false
}

// Sweep drops what has become too old. Once a second is often enough: nothing is
// used past its time in between.
func (r *Ring[T]) Sweep(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := *r.state.Load()
	s.current, s.previous = r.live(s.current, now), r.live(s.previous, now)
	if !r.awaited(s.next, now) {
		s.next = nil
	}
	if s != *r.state.Load() {
		r.set(s)
	}
}

// Clear drops everything, the attempt too.
func (r *Ring[T]) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempt = false
	r.set(ringState[T]{})
}

// live returns e unless it is missing or too old.
func (r *Ring[T]) live(e *Epoch[T], now time.Duration) *Epoch[T] {
	if e == nil || now-e.made >= r.limits.RejectAfter {
		return nil
	}
	return e
}

// awaited reports whether next, which may be nil, can still be confirmed.
func (r *Ring[T]) awaited(next *Epoch[T], now time.Duration) bool {
	return next != nil && now-next.made < r.limits.ConfirmWithin
}

// set publishes s and drops whatever is in the old state only. mu is held.
func (r *Ring[T]) set(s ringState[T]) {
	old := r.state.Swap(&s)
	for _, e := range [...]*Epoch[T]{old.next, old.current, old.previous} {
		if e != nil && e != s.next && e != s.current && e != s.previous {
			r.drop(e)
		}
	}
}
