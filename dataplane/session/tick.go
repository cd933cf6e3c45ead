package session

import (
	"context"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
)

// How often the ticker looks at all sessions: while something is under way, and
// while all is quiet. A look at a quiet route takes well below a microsecond.
const (
	tickBusy  = 50 * time.Millisecond
	tickQuiet = 200 * time.Millisecond
)

// run looks after all sessions until ctx ends. It alone calls SessionUp and
// SessionDown.
func (m *Manager) run(ctx context.Context) {
	timer := time.NewTimer(tickQuiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.kick:
		}
		wait := tickQuiet
		if m.tick() {
			wait = tickBusy
		}
		timer.Reset(wait)
	}
}

// tick looks at every session once and reports whether one is busy.
func (m *Manager) tick() (busy bool) {
	m.mu.Lock()
	all := m.ticking[:0]
	for _, s := range m.sessions {
		all = append(all, s)
	}
	clear(all[len(all):cap(all)]) // do not hold what has ended
	m.ticking = all
	ended := m.takeEnded(ns(m.links.Now()))
	notices := m.notices
	m.notices = nil
	m.mu.Unlock()
	m.tell(notices)
	for _, s := range ended {
		s.up = false
		m.upper.SessionDown(s, errRouteRemoved)
	}
	var due []errand
	for _, s := range all {
		due = due[:0]
		notices = notices[:0]
		if s.tick(ns(m.links.Now()), &due, &notices) {
			busy = true
		}
		m.tell(notices)
		if len(due) > 0 {
			m.send(func(tx *link.Tx, sc *scratch) {
				for _, d := range due {
					d.run(tx, sc)
				}
			})
		}
	}
	return busy
}

// maxLost bounds the sessions that are over but for what runs on them.
const maxLost = 1024

// takeEnded returns the sessions whose end is to be told. What ran over one goes on
// over the session that the peer has now; if it has none, because the connection of
// its link broke off, it is given as long to come back as a peer that falls silent.
// mu is held.
func (m *Manager) takeEnded(now time.Duration) (ended []*Session) {
	lost := m.ended[:0]
	for _, s := range m.ended {
		heir := m.sessions[s.end()]
		s.mu.Lock()
		mayReturn := s.lost && now-s.heard <= deadAfter && len(lost) < maxLost
		s.mu.Unlock()
		switch {
		case !s.up:
		case heir != nil:
			heir.up, s.up = true, false
		case mayReturn:
			lost = append(lost, s)
		default:
			ended = append(ended, s)
		}
	}
	clear(m.ended[len(lost):])
	m.ended = lost
	return ended
}

// An errand is something to send that a tick found due: a probe of size bytes, or a
// bind under ep.
type errand struct {
	r    *route
	size int
	ep   *epoch
}

func (d errand) run(tx *link.Tx, sc *scratch) {
	if d.ep != nil {
		d.r.sendBind(tx, sc, d.ep, d.r.boundHere(d.ep))
		return
	}
	d.r.sendProbe(tx, sc, d.r.s.m.links.Now(), d.size)
}

// tick looks after one session: routes, keys, what others should know.
func (s *Session) tick(now time.Duration, due *[]errand, notices *[]notice) (busy bool) {
	s.endRoutes()
	s.ring.Sweep(now)
	s.pieces.expire(now)
	s.mu.Lock()
	linked, asked := false, false
	for _, r := range s.routes {
		asked = asked || !r.spec.Answer
		s.heard = max(s.heard, ns(r.lastHeard.Load()))
		if r.direct != nil {
			s.heard = max(s.heard, ns(r.direct.LastRecv()))
		}
		r.forget(now)
		if r.link() != nil {
			linked = true
		}
		if s.tickRoute(r, now, due) {
			busy = true
		}
	}
	s.reschedule()
	if s.m.cfg.OnRoute != nil {
		for _, r := range s.routes {
			if event, news := r.changed(); news {
				*notices = append(*notices, notice{r.infoLocked(), event})
			}
		}
	}
	up, silent := s.table.Load() != nil, now-s.heard > deadAfter
	s.mu.Unlock()

	if linked && s.handshakeDue(now, asked) {
		s.m.shaker.start(s)
	}
	if s.shake.active.Load() {
		busy = true
		if !linked {
			s.m.shaker.start(s) // finds no route and gives up
		}
	}
	switch {
	case up && !s.up:
		s.up = true
		s.m.log.Info().Stringer("peer", s.peer).Uint32("class", s.class).Msg("session up")
		s.m.upper.SessionUp(s)
	case !up && s.up && silent:
		s.up = false
		s.m.log.Info().Stringer("peer", s.peer).Uint32("class", s.class).Err(ErrPeerSilent).Msg("session down")
		s.m.upper.SessionDown(s, ErrPeerSilent)
	}
	return busy
}

// endRoutes removes the routes that have expired or were closed.
func (s *Session) endRoutes() {
	s.mu.Lock()
	var over []*route
	for _, r := range s.routes {
		if r.over.Load() != 0 {
			over = append(over, r)
		}
	}
	s.mu.Unlock()
	for _, r := range over {
		s.m.endRoute(r.n, RouteEvent(r.over.Load()))
	}
}

// tickRoute looks after one route. mu is held.
func (s *Session) tickRoute(r *route, now time.Duration, due *[]errand) (busy bool) {
	l := r.link()
	if l == nil {
		r.health.state = StateWaiting
		return false
	}
	if ep := r.bindDue(now); ep != nil {
		*due = append(*due, errand{r: r, ep: ep})
	}
	if r.direct == nil {
		if st := r.send.Load(); st != nil && now-st.epoch.Made() >= s.m.cfg.Limits.RejectAfter {
			r.send.CompareAndSwap(st, nil)
		}
		if r.send.Load() == nil {
			r.health.state = StateWaiting
			return true
		}
	}
	r.begin()
	if r.direct != nil {
		if rtt := l.RTT(); rtt > 0 {
			r.health.rtt = rtt // the link measures it anyway
		}
	}
	if r.doubted.Swap(false) {
		r.health.doubt()
	}
	before := r.health.seen.replies
	if r.health.tick(now, r.traffic(), r.idle()) {
		*due = append(*due, errand{r: r})
	}
	if r.health.seen.replies != before {
		r.share.update(r.health.seen.tx, r.peerPackets.Load())
		r.errCode.Store(0) // whatever a hop said is over
	}
	if r.echoed.Swap(false) {
		r.yield.update(now, r.probeTx.Load(), r.peerPackets.Load(), r.peerRecv.Load())
	}
	if r.direct == nil {
		s.tickMTU(r, now, l, due)
	}
	return r.next != r.acked || r.health.dataSince != 0 || r.health.probeSince != 0
}

// tickMTU goes on with the search for a sealed route's MTU. mu is held.
func (s *Session) tickMTU(r *route, now time.Duration, l *link.Link, due *[]errand) {
	if size := r.confirmed.Swap(0); size > 0 {
		r.search.confirm(int(size), now)
	}
	if size := r.hinted.Swap(0); size > 0 {
		r.search.hint(int(size), now)
	}
	if size := r.search.tick(now, r.health.rtt, l.MTU()); size > 0 {
		*due = append(*due, errand{r: r, size: size})
	}
	r.mtu.Store(int32(r.search.mtu))
}

// handshakeDue reports whether we should begin a handshake, or begin again. asked says
// that there is a route which the peer alone has not asked for.
func (s *Session) handshakeDue(now time.Duration, asked bool) bool {
	k := &s.shake
	if now < ns(k.next.Load()) || k.queued.Load() {
		return false
	}
	if k.active.Load() {
		return true
	}
	cur := s.ring.SendEpoch(now)
	switch {
	case cur == nil:
		if !asked || !noise.WinsTie(s.m.pk, s.peer) {
			k.tieUntil.CompareAndSwap(0, int64(now+tieWait))
			return now >= ns(k.tieUntil.Load())
		}
		return true
	case s.ring.NeedRekey(now):
		return true
	}
	return s.orphaned(cur, now)
}

// orphaned reports whether the peer has evidently not got the keys in use: it never
// answered under them, or nothing has come back on any route for long.
func (s *Session) orphaned(cur *epoch, now time.Duration) bool {
	if now-cur.Made() < s.m.cfg.Limits.ConfirmWithin {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table.Load() == nil && now-s.heard > deadAfter {
		s.shake.next.Store(int64(now + retryMax))
		return true
	}
	first := cur.User.first
	return cur.Initiator() && !first.gone && first.link() != nil && first.next != nil && first.next.epoch == cur && first.acked != first.next
}
