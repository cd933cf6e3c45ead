package yamux

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A keepAlive pings the peer from time to time and ends the session when nothing at
// all comes back: a late answer behind a long queue of data is a sign of life.
type keepAlive struct {
	heard atomic.Uint64 // reads of the connection

	mu      sync.Mutex
	sess    *Session
	timer   *time.Timer // nil: never, or no longer
	asked   bool        // a ping is out
	heardAt uint64      // heard when it was sent
}

func (k *keepAlive) start(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sess = s
	if s.cfg.KeepAlive > 0 {
		k.timer = time.AfterFunc(s.cfg.KeepAlive, k.tick)
	}
}

func (k *keepAlive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

// tick sends a ping, or looks what came of the last.
func (k *keepAlive) tick() {
	k.mu.Lock()
	if k.timer == nil {
		k.mu.Unlock()
		return
	}
	cfg := &k.sess.cfg
	heard := k.heard.Load()
	if !k.asked {
		k.asked, k.heardAt = true, heard
		k.timer.Reset(cfg.WriteTimeout)
		k.mu.Unlock()
		k.sess.out.pushControl(Header{Type: TypePing, Flags: FlagSYN, Length: k.sess.pings.number()})
		k.sess.out.flush()
		return
	}
	k.asked = false
	silent := heard == k.heardAt
	k.timer.Reset(cfg.KeepAlive)
	k.mu.Unlock()
	if silent {
		k.sess.die(ErrKeepAlive)
	}
}

// pings are those whose answers somebody waits for.
type pings struct {
	mu   sync.Mutex
	last uint32
	wait map[uint32]chan struct{}
}

// number returns a number for a ping that nobody waits for.
func (p *pings) number() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	return p.last
}

// add returns a number for a ping, and the channel that its answer closes.
func (p *pings) add() (uint32, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait == nil {
		p.wait = make(map[uint32]chan struct{})
	}
	p.last++
	ch := make(chan struct{})
	p.wait[p.last] = ch
	return p.last, ch
}

// remove forgets a ping.
func (p *pings) remove(n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.wait, n)
}

// answered takes an answer; those to nobody's ping are passed over.
func (p *pings) answered(n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch := p.wait[n]; ch != nil {
		close(ch)
		delete(p.wait, n)
	}
}

// Ping asks the peer for a sign of life and returns how long that took. It measures
// the connection, not what goes on behind a relay.
//
// Errors: ErrSessionClosed, ctx's cause.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	n, answer := s.pings.add()
	defer s.pings.remove(n)
	start := time.Now()
	s.out.pushControl(Header{Type: TypePing, Flags: FlagSYN, Length: n})
	s.out.flush()
	select {
	case <-answer:
		return time.Since(start), nil
	case <-s.done:
		return 0, s.Err()
	case <-ctx.Done():
		return 0, fmt.Errorf("yamux: ping: %w", context.Cause(ctx))
	}
}
