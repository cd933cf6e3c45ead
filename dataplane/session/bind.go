package session

import (
	"encoding/binary"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
)

const (
	bindRetryMin = 200 * time.Millisecond
	bindRetryMax = 4 * time.Second
)

// errBound says that a route id cannot be bound: see epochState.bound.
type errBound uint32

func (e errBound) Error() string { return "session: route id is bound already, or was" }

// claim gives the peer's route id to r for the time of ep, and r a number space to
// receive in. The caller holds r.recvMu.
func (r *route) claim(ep *epoch, rs *recvState) error {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := ep.User.bound[rs.id]; taken || len(ep.User.bound) >= maxBound {
		return errBound(rs.id)
	}
	if ep.User.bound == nil {
		ep.User.bound = make(map[uint32]*route)
	}
	ep.User.bound[rs.id] = r
	r.recv[ep.Local] = rs
	return nil
}

// bind takes the peer's bind: body is all of it. The delivery's route is locked.
func (d *delivery) bind(phase uint8, body []byte) {
	r, s := d.r, d.r.s
	ep := s.ring.Lookup(uint32(phase), ns(d.b.Now))
	if ep == nil {
		d.drop(DropNoKeys)
		return
	}
	id := binary.BigEndian.Uint32(body[msgHeaderLen:])
	rs := r.recv[phase]
	fresh := rs == nil || rs.epoch != ep || rs.id != id
	if fresh {
		rs = &recvState{epoch: ep, id: id, linked: r.direct != nil}
	}
	payload, why, ok := rs.open(body[bindADLen:], body[:bindADLen], &d.sc.nonce)
	if !ok {
		d.drop(why)
		return
	}
	h, err := parseHello(payload)
	if err != nil {
		d.drop(DropMalformed)
		return
	}
	if fresh {
		if r.claim(ep, rs) != nil {
			d.drop(DropBind)
			return
		}
		d.keys = nil // it may have held the id before
	}
	d.authentic = true
	s.confirm(ep)
	if s.bound(r, ep, h.bound) {
		s.m.wake()
	}
	if h.want {
		r.sendBind(d.b.Tx, d.sc, ep, id)
	}
}

// bound notes that the peer has bound id on r, and reports whether that is news:
// from now on r sends under ep.
func (s *Session) bound(r *route, ep *epoch, id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != r.id || r.next == nil || r.next.epoch != ep || r.acked == r.next {
		return false
	}
	r.acked = r.next
	if r.direct == nil {
		r.send.Store(r.next)
		r.begin()
		s.reschedule()
	}
	return true
}

// sendBind tells the peer our route id under ep, and which of its ids is bound here.
func (r *route) sendBind(tx *link.Tx, sc *scratch, ep *epoch, bound uint32) {
	r.s.mu.Lock()
	space := r.next
	want := space != nil && r.acked != space
	r.s.mu.Unlock()
	if space == nil || space.epoch != ep {
		return
	}
	counter, err := space.counter.Reserve(1)
	if err != nil {
		return
	}
	body := appendMessageHeader(make([]byte, 0, 64), msgBind)
	body = binary.BigEndian.AppendUint32(body, space.id)
	body = binary.BigEndian.AppendUint64(body, counter)
	body = appendBindTLVs(body, bound, want)
	body = append(body, make([]byte, noise.TagLen)...)
	plain := body[bindHeaderLen : len(body)-noise.TagLen]
	ep.Send.Seal(plain[:0], plain, body[:bindADLen], &sc.nonce, space.id, counter)
	r.sendMessage(tx, uint8(ep.Remote), body)
}

// boundHere returns the route id that the peer has bound on r under ep, or 0.
func (r *route) boundHere(ep *epoch) uint32 {
	r.recvMu.Lock()
	defer r.recvMu.Unlock()
	if rs := r.recv[ep.Local]; rs != nil && rs.epoch == ep {
		return rs.id
	}
	return 0
}

// bindDue reports whether r is to be bound under its newest keys and it is time to
// say so (again). Session.mu is held.
func (r *route) bindDue(now time.Duration) *epoch {
	if r.next == nil || r.acked == r.next || now < r.bindAt {
		return nil
	}
	wait := max(2*r.health.rtt, bindRetryMin) << min(r.bindTry, 5)
	r.bindAt = now + min(wait, bindRetryMax)
	r.bindTry++
	return r.next.epoch
}
