package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// ensureTimeout bounds Ensure; a build ends a little earlier, to say why it failed.
	ensureTimeout = 10 * time.Second
	buildMargin   = 500 * time.Millisecond
	// linkHeadStart is how long a direct link may take before a route is made as well.
	linkHeadStart = time.Second
	// linkPause is how long a direct link is not tried again where routes do.
	linkPause = time.Minute
)

// ErrSelf says that a visor asked for the way to itself.
var ErrSelf = errors.New("router: a visor needs no way to itself")

// An end is what a session is with.
type end struct {
	peer  cipher.PubKey
	class uint32
}

// Ensure returns the class under which streams to pk travel as p asks for, when there is
// a way that works; that takes 10 s at most, and as long where a visor or a service does
// not answer: it may in a moment. Class 0 is everything that accepts a direct link.
//
// Errors: those of Policy.Validate; ErrSelf; ErrNoPath; *setup.Error and what else set-up
// says; what Transports says; those of ctx.
func (r *Router) Ensure(ctx context.Context, pk cipher.PubKey, p Policy) (class uint32, err error) {
	if err := p.Validate(); err != nil {
		return 0, err
	}
	if pk == r.cfg.Key {
		return 0, ErrSelf
	}
	p = p.normal()
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	if p.direct() {
		return 0, r.ensurePlain(ctx, pk, p)
	}
	q, ids, err := r.poolFor(pk, p)
	if err != nil {
		return 0, err
	}
	r.removeRoutes(ids)
	return q.class, r.supply(ctx, q)
}

// ensurePlain sees to a way to pk that may be direct: a link is tried first, and routes
// where that is slow or fails.
func (r *Router) ensurePlain(ctx context.Context, pk cipher.PubKey, p Policy) error {
	if p.MaxHops > 1 && (p.Routes > 1 || len(p.Avoid) > 0) {
		// What is there already may have to go, or to become more.
		q, ids, err := r.poolFor(pk, p)
		if err != nil {
			return err
		}
		r.removeRoutes(ids)
		if p.Routes > 1 {
			r.cfg.Sessions.SetMux(q.peer, q.class, true)
		}
		defer r.wake()
	}
	if s, ok := r.cfg.Sessions.SessionClass(pk, 0); ok && s.Up() && p.MaxHops > 1 {
		r.touch(pk)
		return nil
	}
	linked := make(chan error, 1)
	if !r.start(func(context.Context) { linked <- r.link(ctx, pk) }) {
		return errClosed
	}
	if p.MaxHops == 1 {
		return <-linked
	}
	headStart := time.NewTimer(linkHeadStart)
	defer headStart.Stop()
	var linkErr error
	select {
	case linkErr = <-linked:
		if linkErr == nil {
			return nil
		}
		linked = nil
	case <-headStart.C:
	}
	routed := make(chan error, 1)
	q, ids, err := r.poolFor(pk, p)
	if err != nil {
		return err
	}
	r.removeRoutes(ids)
	if !r.start(func(context.Context) { routed <- r.supply(ctx, q) }) {
		return errClosed
	}
	var routeErr error
	for range 2 {
		select {
		case linkErr = <-linked:
			if linkErr == nil {
				return nil
			}
			linked = nil
		case routeErr = <-routed:
			if routeErr == nil {
				r.linkBehind(pk)
				return nil
			}
			routed = nil
		}
		if linked == nil && routed == nil {
			break
		}
	}
	return fmt.Errorf("router: %s cannot be reached: directly: %w; through others: %w", pk, linkErr, routeErr)
}

// link makes a direct link and waits until packets can be sent on it.
func (r *Router) link(ctx context.Context, pk cipher.PubKey) error {
	if err := r.cfg.Transports.Ensure(ctx, pk); err != nil {
		return err
	}
	_, err := r.cfg.Sessions.DialClass(ctx, pk, 0)
	return err
}

// touch notes that somebody uses class 0 of pk; where that has no direct link, one is
// tried from time to time.
func (r *Router) touch(pk cipher.PubKey) {
	r.mu.Lock()
	p := r.pools[poolKey{peer: pk}]
	behind := false
	if p != nil {
		p.used = time.Now()
		behind = p.directAt.IsZero()
	}
	r.mu.Unlock()
	if behind {
		r.linkBehind(pk)
	}
}

// linkBehind tries a direct link in the background, where that has not been done of
// late.
func (r *Router) linkBehind(pk cipher.PubKey) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.linkTried[pk]) < linkPause || len(r.linkTried) >= maxPools {
		return
	}
	r.linkTried[pk] = now
	r.startLocked(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
		defer cancel()
		_ = r.cfg.Transports.Ensure(ctx, pk) // the routes do meanwhile
	})
}

// supply waits until a route of p is up. It has one made where there is none, and once
// more after a pause where somebody did not answer: services that were away are back
// before all visors are. What fails for one caller fails for all who wait for it.
func (r *Router) supply(ctx context.Context, p *pool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, pause := p.builds, firstRetry
	var last error
	for {
		var again <-chan time.Time
		switch {
		case p.gone:
			return fmt.Errorf("router: the routes to %s have been removed", p.peer)
		case p.up():
			p.used = time.Now()
			return nil
		case p.building:
		case p.builds > seen && p.err != nil:
			if last, seen = p.err, p.builds; !unanswered(last) {
				return last
			}
			again = time.After(pause/2 + rand.N(pause))
			pause *= 2
		default:
			if r.buildLocked(p); !p.building {
				return errClosed
			}
		}
		if err := r.awaitBuild(ctx, p, again); err != nil {
			return cmp.Or(last, err)
		}
	}
}

// awaitBuild waits, without r.mu, until a build of p has ended or it is time again.
func (r *Router) awaitBuild(ctx context.Context, p *pool, again <-chan time.Time) error {
	changed := p.changed
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-again:
		return nil
	case <-r.ctx.Done():
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("router: no route to %s in time: %w", p.peer, ctx.Err())
	}
}
