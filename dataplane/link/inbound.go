package link

import (
	"errors"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// maxHalfOpen bounds the links that exist only because somebody sent an initiation.
const maxHalfOpen = 1024

var (
	errClosed   = errors.New("link: engine is closed")
	errStopped  = errors.New("link: this visor is stopping")
	errGone     = errors.New("link: removed")
	errHalfOpen = errors.New("link: the neighbour did not finish its handshake")
)

// link returns the link of this type to peer, which it makes if there is none. A
// link that a neighbour asks for (inbound, from place at) needs room under the
// policy's caps; one that we ask for becomes ours, and ErrExists says that it was.
//
// Links come into being one at a time, so that the handler's Attach runs under no
// lock but making and the caps hold exactly.
func (e *Engine) link(peer cipher.PubKey, typ Type, inbound bool, at netip.Prefix) (*Link, error) {
	e.making.Lock()
	defer e.making.Unlock()
	if l, err := e.claim(peer, typ, inbound, at); l != nil || err != nil {
		return l, err
	}
	l, err := e.newLink(peer, typ, inbound, at)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		e.post(func() { e.handler.Detach(l) })
		return nil, errClosed
	}
	e.links[linkKey{peer, typ}] = l
	if inbound {
		e.inbound++
		e.perAddr[at]++
	}
	return l, nil
}

// claim finds an existing link, or none, and says whether a new one may be made.
func (e *Engine) claim(peer cipher.PubKey, typ Type, inbound bool, at netip.Prefix) (*Link, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errClosed
	}
	l, p := e.links[linkKey{peer, typ}], &e.cfg.Policy
	switch {
	case l != nil && inbound:
		return l, nil
	case l != nil && l.outbound.Load():
		return nil, ErrExists
	case l != nil:
		l.outbound.Store(true)
		e.releaseInbound(l)
		return l, nil
	case inbound && !p.admits(peer) && !e.expected[peer]:
		return nil, &dropError{DropPolicy, "its key is not on the list"}
	case inbound && (p.MaxLinks > 0 && e.inbound >= p.MaxLinks || p.MaxPerAddr > 0 && e.perAddr[at] >= p.MaxPerAddr):
		return nil, &dropError{DropPolicy, "too many links"}
	}
	return nil, nil
}

// newLink makes a link that nobody knows of yet. Called with making held.
func (e *Engine) newLink(peer cipher.PubKey, typ Type, inbound bool, at netip.Prefix) (*Link, error) {
	e.lastID++
	l := &Link{e: e, id: e.lastID, peer: peer, typ: typ, place: at}
	l.outbound.Store(!inbound)
	l.state.changed = make(chan struct{})
	var err error
	if l.keys, err = noise.NewRing(e.cfg.Limits, e.dropEpoch); err != nil {
		return nil, err
	}
	l.mtu.Store(packet.MinMTU)
	if typ != SUDPH {
		l.mtu.Store(packet.MaxRoutePacket)
	}
	l.directIn = e.handler.Attach(l)
	return l, nil
}

// remove forgets l for good.
func (e *Engine) remove(l *Link, why error) {
	e.mu.Lock()
	known := e.forget(l)
	e.mu.Unlock()
	if known {
		e.bury(l, why)
	}
}

// removeInbound is remove for a link that goes when its connection does. It reports
// false, and does nothing, if the link has become one of ours.
func (e *Engine) removeInbound(l *Link, why error) bool {
	e.mu.Lock()
	ours := l.outbound.Load()
	known := !ours && e.forget(l)
	e.mu.Unlock()
	if known {
		e.bury(l, why)
	}
	return !ours
}

// removeHalfOpen is removeInbound for a link that has not come up, unless it does so
// just now.
func (e *Engine) removeHalfOpen(l *Link) {
	l.mu.Lock()
	if l.Up() {
		l.mu.Unlock()
		return
	}
	e.mu.Lock()
	known := !l.outbound.Load() && e.forget(l)
	e.mu.Unlock()
	l.state.gone = l.state.gone || known // from here on it cannot come up
	l.mu.Unlock()
	if known {
		e.bury(l, errHalfOpen)
	}
}

// forget takes l out of the table, and reports whether it was there. Called with
// e.mu held.
func (e *Engine) forget(l *Link) bool {
	key := linkKey{l.peer, l.typ}
	if e.links[key] != l {
		return false
	}
	delete(e.links, key)
	if !l.outbound.Load() {
		e.releaseInbound(l)
	}
	return true
}

// bury ends a link that has left the table.
func (e *Engine) bury(l *Link, why error) {
	l.end(why)
	e.post(func() { e.handler.Detach(l) })
}

// releaseInbound gives l's room back. Called with e.mu held.
func (e *Engine) releaseInbound(l *Link) {
	e.inbound--
	if e.perAddr[l.place]--; e.perAddr[l.place] <= 0 {
		delete(e.perAddr, l.place)
	}
}

// admit decides whether an authentic initiation from place at is answered, and
// returns its link.
func (e *Engine) admit(r *responder, typ Type, at netip.Prefix, now int64) (*Link, error) {
	if r.peer == e.pk {
		return nil, &dropError{DropPolicy, "a visor with our own key called"}
	}
	if !e.guard.Admit(r.peer, r.offer.timestamp) {
		return nil, &dropError{DropTimestamp, "initiation is not newer than the last"}
	}
	l, err := e.link(r.peer, typ, true, at)
	if err != nil {
		return nil, err
	}
	if !l.newer(r.offer.timestamp, now) {
		return nil, &dropError{DropTimestamp, "initiation is not newer than the last"}
	}
	// Both began at once: the smaller key's goes on. Only a fresh attempt of ours
	// counts as "at once": if it stays without an answer, theirs is the one that
	// gets through.
	if began, busy := l.keys.Attempt(); busy {
		if noise.WinsTie(e.pk, r.peer) && now-int64(began) < retryFirst/2 {
			return nil, &dropError{DropTie, "both began a handshake, ours goes on"}
		}
		l.mu.Lock()
		l.abortOurs()
		l.mu.Unlock()
	}
	return l, nil
}

// newer notes the timestamp of an authentic initiation and reports whether it is
// newer than the last one, for as long as that one's handshake may go on. The guard
// knows of live links only: without this a recorded initiation, sent again and again,
// would displace each handshake of the neighbour itself.
func (l *Link) newer(timestamp uint64, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := &l.state
	if timestamp <= st.asked && now-st.askedAt < int64(l.e.cfg.Limits.ConfirmWithin) {
		return false
	}
	st.asked, st.askedAt = timestamp, now
	return true
}

// answer makes the responder's keys; they wait as next until the peer uses them.
// The answer goes to address to. Only the shaker calls it: two multiplications run
// here, under no lock.
func (e *Engine) answer(l *Link, r *responder, to netip.AddrPort, now int64) (reply []byte, err error) {
	index, err := e.indices.take(e.workerFor(l))
	if err != nil {
		return nil, err
	}
	reply, keys, err := r.answer(index, e.offerOn(l, 0))
	if err != nil {
		e.indices.put(index)
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.gone {
		e.indices.put(index)
		return nil, errGone
	}
	if err := l.jar().AddMACs(reply, time.Duration(now)); err != nil {
		e.indices.put(index)
		return nil, err
	}
	k := newRxKey(l, keys, index, r.remote, r.offer)
	k.answered = to
	e.keys.Store(indexSlot(index), k)
	l.keys.InstallResponder(k.epoch, time.Duration(now))
	return reply, nil
}

// confirm hears of the first packet under keys whose handshake the peer began: it
// has them, so we may send with them, and it has received where the answer went.
func (l *Link) confirm(k *rxKey, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.gone || !l.keys.Confirm(k.epoch) {
		return
	}
	if !l.e.guard.Track(l.peer, k.offer.timestamp) {
		l.e.count(DropPolicy)
		return
	}
	l.state.offer = k.offer
	l.use(k.epoch, k.answered, nil, now)
	l.state.jar = nil // 0.5 KiB that an idle link does not need
}

// A nursery holds the links that somebody asked for and has yet to confirm.
type nursery map[*Link]int64 // since when

// add remembers l, and returns the oldest if there are now too many.
func (n nursery) add(l *Link, now int64) (oldest *Link) {
	if _, known := n[l]; !known {
		n[l] = now
	}
	if len(n) <= maxHalfOpen {
		return nil
	}
	for h, since := range n {
		if oldest == nil || since < n[oldest] {
			oldest = h
		}
	}
	delete(n, oldest)
	return oldest
}

// noteHalfOpen remembers a link that somebody asked for; the oldest goes when there
// are too many.
func (s *shaker) noteHalfOpen(l *Link, now int64) {
	if l.Up() || l.outbound.Load() {
		return
	}
	s.mu.Lock()
	oldest := s.halfOpen.add(l, now)
	s.mu.Unlock()
	if oldest != nil {
		s.e.removeHalfOpen(oldest)
	}
}

// sweepHalfOpen forgets links whose handshake was not finished in time.
func (s *shaker) sweepHalfOpen(now int64) {
	var gone []*Link
	s.mu.Lock()
	for l, since := range s.halfOpen {
		switch {
		case l.Up() || l.outbound.Load():
			delete(s.halfOpen, l)
		case now-since > int64(s.e.cfg.Limits.ConfirmWithin):
			delete(s.halfOpen, l)
			gone = append(gone, l)
		}
	}
	s.mu.Unlock()
	for _, l := range gone {
		s.e.removeHalfOpen(l)
	}
}
