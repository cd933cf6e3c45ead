package session

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// prologue binds protocol, version and the class of the routes into the handshake,
// docs/wire.md section 5.
func prologue(class uint32) []byte {
	b := append([]byte("skywire-session"), packet.Version)
	if class != 0 {
		b = binary.BigEndian.AppendUint32(b, class)
	}
	return b
}

// Handshakes are retried with doubling pauses, each time with a new message and,
// where there are several, on another route.
const (
	retryFirst = 500 * time.Millisecond
	retryMax   = 8 * time.Second
	// tieWait is how long the side whose handshake would lose a tie leaves the
	// first move to the other.
	tieWait = 1500 * time.Millisecond

	// A hop that says that it dropped a handshake makes the next one come sooner: links
	// and rules on a new route may be a moment late. It could be lying, so not often.
	retryTold = 10 * time.Millisecond
	maxTold   = 4 // for one series of attempts

	maxJobs = 256 // that wait for the handshaker

	// One neighbour, whatever labels it has, gets 200 messages a second worked on,
	// which is about a quarter of a core, after a burst of 64.
	linkEvery = 5 * time.Millisecond
	linkDepth = 64 * linkEvery
)

// jobStart is the job of beginning a handshake; the others have the message's type.
const jobStart = 0

// A job is work for the handshaker's goroutine.
type job struct {
	s   *Session
	r   *route // that the message came on
	typ uint8
	msg []byte // the Noise message; offer copies it
}

// sessionShake is a session's handshake. The first part belongs to the handshaker's
// goroutine.
type sessionShake struct {
	pending *noise.Handshake // ours, on its way
	over    *route           // the route it took
	tries   int
	newest  uint64 // greatest timestamp of an initiation of the peer

	// next is when we may begin, or begin again, on the engine's clock.
	next   atomic.Int64
	active atomic.Bool // pending is set
	queued atomic.Bool // a start job waits
	began  atomic.Int64
	told   atomic.Int32 // how often a hop has said that it dropped ours

	// tieUntil is when the peer has had its chance to go first; 0: not set yet.
	tieUntil atomic.Int64
}

// A handshaker runs all handshakes of a Manager on one goroutine: an elliptic curve
// multiplication takes as long as hundreds of packets, and must take neither a
// packet worker nor, when peers ask for many, the whole machine.
type handshaker struct {
	m    *Manager
	jobs chan job

	mu      sync.Mutex
	budgets map[*link.Link]bucket
}

func newHandshaker(m *Manager) *handshaker {
	return &handshaker{m: m, jobs: make(chan job, maxJobs), budgets: make(map[*link.Link]bucket)}
}

// offer queues a message that came over from at now, and copies it. It reports false
// when too many wait or this neighbour sends too many. It does not block.
func (h *handshaker) offer(from *link.Link, now time.Duration, j job) bool {
	h.mu.Lock()
	b := h.budgets[from]
	ok := b.take(now, linkEvery, linkDepth)
	h.budgets[from] = b
	h.mu.Unlock()
	if !ok {
		return false
	}
	j.msg = append([]byte(nil), j.msg...)
	j.s = j.r.s
	select {
	case h.jobs <- j:
		return true
	default:
		return false
	}
}

// forget drops the budget of a link that is gone.
func (h *handshaker) forget(l *link.Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.budgets, l)
}

// start queues the beginning of a handshake for s.
func (h *handshaker) start(s *Session) {
	if s.shake.queued.Swap(true) {
		return
	}
	select {
	case h.jobs <- job{s: s, typ: jobStart}:
	default: // the next tick asks again
		s.shake.queued.Store(false)
	}
}

func (h *handshaker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-h.jobs:
			switch j.typ {
			case jobStart:
				j.s.beginHandshake()
			case msgInit:
				j.s.answerHandshake(j.r, j.msg)
			case msgResponse:
				j.s.finishHandshake(j.r, j.msg)
			}
		}
	}
}

func (s *Session) newHandshake(initiator bool) (*noise.Handshake, error) {
	return noise.NewHandshake(noise.Config{
		Pattern: noise.KK, Initiator: initiator, Prologue: prologue(s.class),
		Static: s.m.cfg.Static, Peer: s.peer,
	})
}

// handshakeRoute returns the route for the given attempt, or nil if none has a link.
func (s *Session) handshakeRoute(try int) *route {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []*route
	for _, r := range s.routes {
		if !r.gone && r.link() != nil {
			open = append(open, r)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return open[try%len(open)]
}

// beginHandshake sends an initiation, the first or the next.
func (s *Session) beginHandshake() {
	k := &s.shake
	defer k.queued.Store(false)
	r := s.handshakeRoute(k.tries)
	if r == nil {
		s.abortHandshake()
		return
	}
	now := s.m.links.Now()
	hs, err := s.newHandshake(true)
	if err != nil {
		s.m.log.Error().Err(err).Stringer("peer", s.peer).Msg("cannot make a session handshake")
		k.next.Store(now + int64(retryMax))
		return
	}
	s.ring.Sweep(ns(now)) // frees phases
	payload := appendInitTLVs(nil, s.m.cfg.Clock.Next(), r.id, s.phases.set())
	msg, err := hs.WriteMessage(appendMessageHeader(nil, msgInit), payload)
	if err != nil {
		s.m.log.Error().Err(err).Stringer("peer", s.peer).Msg("cannot write a session handshake")
		k.next.Store(now + int64(retryMax))
		return
	}
	if s.ring.Begin(ns(now)) {
		k.began.Store(now)
	}
	k.pending, k.over = hs, r
	k.active.Store(true)
	k.next.Store(now + int64(min(retryFirst<<min(k.tries, 8), retryMax)))
	k.tries++
	s.m.send(func(tx *link.Tx, _ *scratch) { r.sendMessage(tx, 0, msg) })
}

// shakeDropped takes a hop's word that it dropped a packet of ours, probably the
// handshake. Only the forwarding engine's goroutine calls it.
func (s *Session) shakeDropped() {
	k := &s.shake
	told := k.told.Load()
	if !k.active.Load() || told >= maxTold {
		return
	}
	pause := retryTold << told
	if soon := s.m.links.Now() + int64(pause); soon < k.next.Load() {
		k.told.Store(told + 1)
		k.next.Store(soon)
		time.AfterFunc(pause, s.m.wake) // the ticker may look later by itself
	}
}

// abortHandshake forgets ours.
func (s *Session) abortHandshake() {
	s.shake.pending, s.shake.over, s.shake.tries = nil, nil, 0
	s.shake.active.Store(false)
	s.shake.told.Store(0)
	s.ring.Abort()
}

// answerHandshake takes the peer's initiation, which came on r.
func (s *Session) answerHandshake(r *route, msg []byte) {
	k := &s.shake
	hs, err := s.newHandshake(false)
	if err != nil {
		return // only our own keys can be at fault, and beginHandshake logs that
	}
	payload, err := hs.ReadMessage(nil, msg)
	if err != nil {
		s.m.drops.add(DropHandshake)
		return
	}
	h, err := parseHello(payload)
	switch {
	case err != nil || h.route == 0:
		s.m.drops.add(DropHandshake)
		return
	case h.timestamp <= k.newest:
		s.m.drops.add(DropHandshakeOld)
		return
	}
	k.newest = h.timestamp
	if k.pending != nil {
		if noise.WinsTie(s.m.pk, s.peer) {
			s.m.drops.add(DropHandshakeTie)
			return
		}
		s.abortHandshake()
	}
	now := s.m.links.Now()
	s.ring.Sweep(ns(now))
	phase, ok := freePhase(s.phases.set() | h.inUse)
	if !ok {
		// Four sets of keys between the two of us: one is our own unconfirmed
		// answer, or runs out soon.
		s.m.drops.add(DropHandshakeBusy)
		return
	}
	answer, err := hs.WriteMessage(appendMessageHeader(nil, msgResponse), appendResponseTLVs(nil, r.id, uint8(phase)))
	if err != nil {
		s.m.log.Error().Err(err).Stringer("peer", s.peer).Msg("cannot answer a session handshake")
		return
	}
	ep, err := s.newEpoch(hs, phase, r)
	if err != nil {
		s.m.drops.add(DropHandshake)
		return
	}
	s.ring.InstallResponder(ep, ns(now))
	s.phases.add(phase) // after Install, which may have dropped an older one of ours
	s.bindFirst(r, ep, h.route)
	k.next.Store(now + int64(s.m.cfg.Limits.ConfirmWithin))
	s.m.send(func(tx *link.Tx, _ *scratch) { r.sendMessage(tx, 0, answer) })
}

// finishHandshake takes the peer's response, which came on r.
func (s *Session) finishHandshake(r *route, msg []byte) {
	k := &s.shake
	if k.pending == nil || k.over != r {
		s.m.drops.add(DropHandshake)
		return
	}
	hs := k.pending
	payload, err := hs.ReadMessage(nil, msg)
	if err != nil { // an answer to an earlier try, or a forgery: ours goes on
		s.m.drops.add(DropHandshake)
		return
	}
	began := ns(k.began.Load())
	s.abortHandshake()
	now := s.m.links.Now()
	h, err := parseHello(payload)
	if err != nil || h.route == 0 || s.phases.set()&(1<<h.phase) != 0 {
		s.m.drops.add(DropHandshake)
		return
	}
	ep, err := s.newEpoch(hs, uint32(h.phase), r)
	if err != nil {
		s.m.drops.add(DropHandshake)
		return
	}
	s.phases.add(uint32(h.phase))
	s.ring.InstallInitiator(ep, ns(now))
	s.bindFirst(r, ep, h.route)
	s.adopt(ep)
	k.next.Store(now) // NeedRekey says when
	s.m.log.Debug().Stringer("peer", s.peer).Uint32("class", s.class).Dur("took", ns(now)-began).Msg("session keys agreed")
	s.m.wake() // the tick sends the binds, which confirm the keys to the peer
}

func (s *Session) newEpoch(hs *noise.Handshake, phase uint32, first *route) (*epoch, error) {
	keys, err := hs.Keys()
	if err != nil {
		return nil, err
	}
	return noise.NewEpoch(keys, phase, phase, epochState{first: first}), nil
}

// bindFirst binds the peer's route id on the route that the handshake ran over. The keys
// are in the ring already, or a tick would take the binding for one of old keys and
// forget it; and the peer does not have them yet, or has not been told that we do.
func (s *Session) bindFirst(r *route, ep *epoch, id uint32) {
	r.recvMu.Lock()
	defer r.recvMu.Unlock()
	_ = r.claim(ep, &recvState{epoch: ep, id: id, linked: r.direct != nil}) // the first one under these keys
}
