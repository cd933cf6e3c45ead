package router

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/skyminer/skywire/dataplane/session"
)

const (
	// idleAfter is how long a class is kept that nobody asks for and nothing uses.
	idleAfter = 5 * time.Minute
	// directFor is how long a direct link has to be up before routes beside it go.
	directFor = 30 * time.Second
	// Pauses between attempts to make what is missing.
	firstRetry  = 500 * time.Millisecond
	maxRetry    = time.Minute
	noneForNow  = 20 * time.Second // there was no other path
	maxFailures = 16
)

// look goes through all pools once: what is idle goes, what is missing is made.
func (r *Router) look(now time.Time) {
	type use struct {
		direct  bool
		traffic uint64
	}
	infos := r.cfg.Sessions.Routes()
	byID := make(map[uint64]*session.RouteInfo, len(infos))
	uses := map[end]use{}
	for i := range infos {
		in := &infos[i]
		byID[in.ID] = in
		u := uses[end{in.Peer, in.Class}]
		u.traffic += in.TxPackets + in.RxPackets
		u.direct = u.direct || in.Direct && in.State == session.StateUp
		uses[end{in.Peer, in.Class}] = u
	}
	var ids []uint64
	r.mu.Lock()
	for pk, at := range r.linkTried {
		if now.Sub(at) > linkPause {
			delete(r.linkTried, pk)
		}
	}
	for _, p := range r.pools {
		for _, k := range append([]*kept(nil), p.routes...) {
			if in := byID[k.id]; in != nil {
				k.rtt = in.RTT
				if in.State != session.StateWaiting || now.Sub(k.since) > lookEvery { // a new one is up before its session has looked at it
					r.noteLocked(k, in.State, false, false)
				}
			} else if now.Sub(k.since) > lookEvery { // made since infos was
				r.noteLocked(k, session.StateDead, true, true)
			}
			if k.over(now) && !k.gone {
				ids = append(ids, k.id)
				r.forgetLocked(k)
			}
		}
		u := uses[end{p.peer, p.class}]
		switch {
		case !u.direct || p.class != 0:
			p.directAt = time.Time{}
		case p.directAt.IsZero():
			p.directAt = now
		}
		if u.traffic != p.traffic {
			p.used, p.traffic = now, u.traffic
		}
		if now.Sub(p.used) > idleAfter && (r.cfg.Busy == nil || !r.cfg.Busy(p.peer, p.class)) {
			ids = append(ids, r.dropLocked(p)...)
			continue
		}
		if len(p.routes) > p.wanted() && (p.directAt.IsZero() || now.Sub(p.directAt) > directFor) {
			k := p.worst()
			ids = append(ids, k.id)
			r.forgetLocked(k)
		}
		if p.good() < p.wanted() && !p.building && now.After(p.retryAt) {
			r.buildLocked(p)
		}
	}
	r.mu.Unlock()
	r.removeRoutes(ids)
}

// buildLocked makes one more route for p in the background.
func (r *Router) buildLocked(p *pool) {
	p.building = r.startLocked(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, ensureTimeout-buildMargin)
		err := r.build(ctx, p)
		cancel()
		r.built(p, err)
	})
}

// built notes the end of a build.
func (r *Router) built(p *pool, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastBuild = now
	p.building = false
	p.builds++
	p.err = err
	close(p.changed)
	p.changed = make(chan struct{})
	if err == nil {
		p.failures = 0
		r.wake() // there may be more to make
		return
	}
	pause := min(firstRetry<<p.failures, maxRetry)
	if p.failures < maxFailures {
		p.failures++
	}
	if errors.Is(err, errNotDisjoint) {
		pause = noneForNow
	} else {
		r.log.Debug().Stringer("peer", p.peer).Uint32("class", p.class).Err(err).Msg("no route made")
	}
	p.retryAt = now.Add(pause/2 + rand.N(pause))
}
