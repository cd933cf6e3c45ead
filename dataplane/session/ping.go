package session

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
)

// pings are the calls of Ping that wait for a reply, by token.
type pings struct {
	n       atomic.Int32 // spares the packet worker the lock
	mu      sync.Mutex
	waiting map[uint64]chan time.Duration
}

// answered passes a reply on to who waits for it. It does not block.
func (p *pings) answered(token uint64, rtt time.Duration) {
	if p.n.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch := p.waiting[token]; ch != nil {
		delete(p.waiting, token) // each channel has room for one
		p.n.Add(-1)
		ch <- rtt
	}
}

func (p *pings) add(token uint64) chan time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[uint64]chan time.Duration)
	}
	ch := make(chan time.Duration, 1)
	p.waiting[token] = ch
	p.n.Add(1)
	return ch
}

func (p *pings) remove(token uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[token] != nil {
		delete(p.waiting, token)
		p.n.Add(-1)
	}
}

// Ping sends a probe to the peer on the route in use and returns how long the reply
// took. One probe: a lost one is the caller's to repeat. Errors: ErrNoRoute, those
// of ctx.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	r, l := s.pick(nil)
	if l == nil {
		return 0, ErrNoRoute
	}
	now := s.m.links.Now()
	token := uint64(now) ^ s.mask
	ch := s.pings.add(token)
	defer s.pings.remove(token)
	s.m.send(func(tx *link.Tx, sc *scratch) { r.sendProbe(tx, sc, now, 0) })
	select {
	case rtt := <-ch:
		return rtt, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("session: no reply from %s: %w", s.peer, context.Cause(ctx))
	}
}
