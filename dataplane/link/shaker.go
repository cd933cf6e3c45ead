package link

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// Limits against floods of handshakes. One answer costs about a millisecond of
// elliptic curves, so the queue is at most an eighth of a second of work.
const (
	shakeQueue   = 128
	shakeFreely  = 16   // with fewer in the queue nobody has to show a cookie
	maxHalfOpen  = 1024 // links that exist only because somebody sent an initiation
	cookieBurst  = 64
	cookiesASec  = 20000
	hintsASec    = 200
	hintActEvery = 5 * second
)

var errClosed = errors.New("link: engine is closed")

// A shaker does the handshakes of all UDP links on one goroutine of its own, away
// from the packets. Workers hand messages over through a bounded queue and, when
// it fills, ask for cookies instead.
type shaker struct {
	e       *Engine
	checker *noise.CookieChecker
	queue   chan shakeMsg
	wake    chan struct{} // a link wants to connect or to change keys
	out     *udpio.Writer
	hints   bucket
	cookies bucket

	mu       sync.Mutex
	halfOpen map[*Link]int64 // since when
}

type shakeMsg struct {
	buf    *packet.Small
	n      int
	from   netip.AddrPort
	proved bool // its mac2 shows that the sender is where it says
}

func newShaker(e *Engine) *shaker {
	return &shaker{
		e: e, checker: noise.NewCookieChecker(e.pk),
		queue: make(chan shakeMsg, shakeQueue), wake: make(chan struct{}, 1),
		halfOpen: map[*Link]int64{},
		hints:    bucket{rate: hintsASec, depth: hintsASec}, cookies: bucket{rate: cookiesASec, depth: cookieBurst},
	}
}

// kick makes the goroutine look for links that want something.
func (s *shaker) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shaker) run(ctx context.Context) error {
	if s.e.udp == nil {
		return nil
	}
	s.out = s.e.udp.Conn(0).NewWriter()
	for {
		// Our own wishes come first: a flood must not keep us from connecting.
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			s.initiateDue()
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			s.initiateDue()
		case m := <-s.queue:
			s.message(m)
			m.buf.Free()
		}
	}
}

// handshake takes a message that is not data on a packet worker: check what is
// cheap, queue the rest. f is borrowed.
func (w *worker) handshake(f []byte, from netip.AddrPort, now int64) {
	s := w.e.shake
	h, ok := packet.ParseHandshakeHeader(f)
	if !ok {
		w.e.count(DropMalformed)
		return
	}
	proved := false
	if h.Type == packet.FrameInitiation || h.Type == packet.FrameResponse {
		if !s.checker.CheckMAC1(f) {
			w.e.count(DropMAC1)
			return
		}
		if h.Type == packet.FrameInitiation && len(s.queue) >= shakeFreely {
			if proved = s.checker.CheckMAC2(f, from, time.Duration(now)); !proved {
				w.e.count(DropNoCookie)
				w.sendCookie(f, h, from, now)
				return
			}
		}
	}
	m := shakeMsg{buf: packet.GetSmall(), from: from, proved: proved}
	m.n = copy(m.buf.B[:], f)
	select {
	case s.queue <- m:
	default:
		w.e.count(DropHandshakeQueue)
		m.buf.Free()
	}
}

// sendCookie answers an initiation that came without one while we are under load.
func (w *worker) sendCookie(f []byte, h packet.HandshakeHeader, from netip.AddrPort, now int64) {
	if !w.e.shake.cookies.take(now) {
		return
	}
	msg := packet.HandshakeHeader{Type: packet.FrameCookie, Receiver: h.Sender}.Append(make([]byte, 0, packet.CookieFrameLen))
	msg, err := w.e.shake.checker.AppendReply(msg[:8], f, from, time.Duration(now))
	if err == nil {
		w.hints.Add(msg, len(msg), from) // the writer keeps it until the batch is done
	}
}

// unknownIndex tells a stranger that we have no key for its frames: we restarted,
// or it came late. Rate-limited, smaller than what provoked it.
func (w *worker) unknownIndex(index uint32, from netip.AddrPort, now int64) {
	w.e.count(DropUnknownIndex)
	if !w.e.shake.hints.take(now) {
		return
	}
	msg := packet.HandshakeHeader{Type: packet.FrameUnknownIndex, Sender: index}.Append(make([]byte, 0, packet.UnknownIndexFrameLen))
	msg = append(msg, 0, 0, 0, 0)
	w.hints.Add(msg, len(msg), from)
}

// message handles one queued message.
func (s *shaker) message(m shakeMsg) {
	msg := m.buf.B[:m.n]
	h, ok := packet.ParseHandshakeHeader(msg)
	if !ok {
		return
	}
	now := s.e.tick()
	var err error
	switch h.Type {
	case packet.FrameInitiation:
		err = s.initiation(msg, m, now)
	case packet.FrameResponse:
		err = s.response(h, msg, m.from, now)
	case packet.FrameCookie:
		err = s.cookie(h, msg, now)
	case packet.FrameUnknownIndex:
		s.hint(h.Sender, m.from, now)
	}
	if err != nil {
		s.e.countError(err)
	}
}

// A dropError is an error with the counter it belongs to.
type dropError struct {
	reason DropReason
	text   string
}

func (d *dropError) Error() string { return "link: " + d.text }

// countError counts a handshake that failed.
func (e *Engine) countError(err error) {
	var d *dropError
	if errors.As(err, &d) {
		e.count(d.reason)
		return
	}
	e.count(DropHandshake)
}

// initiation answers a neighbour that wants to connect or to change keys.
func (s *shaker) initiation(msg []byte, m shakeMsg, now int64) error {
	r, err := readInitiation(s.e.cfg.Static, SUDPH, msg)
	if err != nil {
		return err
	}
	l, err := s.e.admit(r, SUDPH, m.from, now)
	if err != nil {
		return err
	}
	if !l.Up() {
		s.noteHalfOpen(l, now)
	}
	k, reply, err := s.e.answer(l, r, s.e.workerFor(l), now)
	if err != nil {
		return err
	}
	k.link.mu.Lock()
	defer k.link.mu.Unlock()
	if err := l.jar().AddMACs(reply, time.Duration(now)); err != nil {
		return err
	}
	s.send(reply, m.from)
	return nil
}

// admit decides whether an authentic initiation is answered, and returns its link.
func (e *Engine) admit(r *responder, typ Type, from netip.AddrPort, now int64) (*Link, error) {
	if r.peer == e.pk {
		return nil, &dropError{DropPolicy, "a visor with our own key called"}
	}
	e.mu.Lock()
	l := e.links[linkKey{r.peer, typ}]
	e.mu.Unlock()
	if l == nil {
		if err := e.reserveInbound(r.peer, from); err != nil {
			return nil, err
		}
		var err error
		var made bool
		if l, made, err = e.link(r.peer, typ); err != nil {
			return nil, err
		}
		if made {
			l.place = place(from.Addr())
		} else {
			e.releasePlace(place(from.Addr()))
		}
	}
	if !e.guard.Admit(r.peer, r.offer.timestamp) {
		return nil, &dropError{DropTimestamp, "initiation is not newer than the last"}
	}
	// Both began at once: the smaller key's goes on. Only the first try counts as
	// "at once": if it stays without an answer, theirs is the one that gets through.
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

// answer makes the responder's keys; they wait as next until the peer uses them.
func (e *Engine) answer(l *Link, r *responder, worker int, now int64) (*rxKey, []byte, error) {
	index, err := e.indices.take(worker)
	if err != nil {
		return nil, nil, err
	}
	reply, keys, err := r.answer(index, e.offerOn(l, 0))
	if err != nil {
		e.indices.put(index)
		return nil, nil, err
	}
	k := newRxKey(l, keys, index, r.remote, r.offer)
	e.keys.Store(indexSlot(index), k)
	l.keys.InstallResponder(k.epoch, time.Duration(now))
	return k, reply, nil
}

// offerOn is what we tell the peer in a handshake.
func (e *Engine) offerOn(l *Link, timestamp uint64) offer {
	most := maxUDPPacket
	if l.typ != SUDPH {
		most = packet.MaxRoutePacket
	}
	return offer{timestamp: timestamp, maxPacket: most, direct: l.directIn}
}

// workerFor spreads links over the workers; all keys of a link have one worker.
func (e *Engine) workerFor(l *Link) int { return int(l.id) % e.udp.Len() }

// initiateDue starts the handshakes that are due.
func (s *shaker) initiateDue() {
	now := s.e.tick()
	for _, l := range s.e.Links() {
		if l.typ == SUDPH && l.wantsHandshake(now) {
			if err := s.initiate(l, now); err != nil {
				s.e.countError(err)
			}
		}
	}
}

// wantsHandshake reports whether it is time to start one: to connect, or for new
// keys.
func (l *Link) wantsHandshake(now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now < l.state.next {
		return false
	}
	if !l.Up() {
		return l.outbound.Load() && l.state.addr.IsValid()
	}
	return l.keys.NeedRekey(time.Duration(now)) || l.state.ours != nil
}

// initiate sends an initiation, a new one each time.
func (s *shaker) initiate(l *Link, now int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.ours != nil && !l.Up() && now-l.state.began > patience {
		l.outcome(l.noAnswer())
	}
	l.abortOurs()
	index, err := s.e.indices.take(s.e.workerFor(l))
	if err != nil {
		return err
	}
	ours, msg, err := newInitiation(s.e.cfg.Static, l.peer, SUDPH, index, s.e.offerOn(l, s.e.cfg.Clock.Next()))
	if err != nil {
		s.e.indices.put(index)
		return err
	}
	l.state.ours = ours
	l.keys.Begin(time.Duration(now))
	s.e.keys.Store(indexSlot(index), &rxKey{index: index, link: l})
	if err := l.jar().AddMACs(msg, time.Duration(now)); err != nil {
		return err
	}
	if l.Up() {
		l.state.next = now + rekeyRetry
	} else {
		l.backOff(now)
	}
	s.send(msg, l.state.addr)
	return nil
}

// jar holds the peer's cookie and adds the macs. Called with l.mu held.
func (l *Link) jar() *noise.CookieJar {
	if l.state.jar == nil {
		l.state.jar = noise.NewCookieJar(l.peer)
	}
	return l.state.jar
}

// response finishes a handshake of ours.
func (s *shaker) response(h packet.HandshakeHeader, msg []byte, from netip.AddrPort, now int64) error {
	k := s.e.keys.Load(indexSlot(h.Receiver))
	if k == nil || k.index != h.Receiver || k.key != nil {
		return &dropError{DropUnknownIndex, "answer to a handshake that is over"}
	}
	l := k.link
	l.mu.Lock()
	ours := l.state.ours
	if ours == nil || ours.index != h.Receiver {
		l.mu.Unlock()
		return &dropError{DropUnknownIndex, "answer to a handshake that is over"}
	}
	keys, o, err := ours.finish(msg)
	if err != nil {
		l.mu.Unlock()
		return err
	}
	l.state.ours = nil
	l.state.offer = o
	nk := newRxKey(l, keys, h.Receiver, h.Sender, o)
	nk.confirmed = true
	l.keys.InstallInitiator(nk.epoch, time.Duration(now))
	s.e.keys.Store(indexSlot(nk.index), nk)
	l.use(nk.epoch, from, nil, now)
	l.state.jar = nil // 0.5 KiB that an idle link does not need
	l.mu.Unlock()
	l.sendProbe(now) // confirms the keys to the peer
	return nil
}

// cookie keeps a cookie and tries again with it.
func (s *shaker) cookie(h packet.HandshakeHeader, msg []byte, now int64) error {
	k := s.e.keys.Load(indexSlot(h.Receiver))
	if k == nil || k.index != h.Receiver || k.key != nil {
		return &dropError{DropUnknownIndex, "cookie for a handshake that is over"}
	}
	l := k.link
	l.mu.Lock()
	err := l.jar().ConsumeReply(msg[8:], time.Duration(now))
	if err == nil {
		l.state.next = now
	}
	l.mu.Unlock()
	if err == nil {
		s.kick()
	}
	return err
}

// hint hears that a peer has lost our keys. It is not authentic: at most it starts
// a handshake with a peer that we send to already.
func (s *shaker) hint(index uint32, from netip.AddrPort, now int64) {
	for _, l := range s.e.Links() {
		st := l.send.Load()
		if l.typ != SUDPH || st == nil || st.epoch.Remote != index || st.addr != from {
			continue
		}
		l.mu.Lock()
		act := l.state.ours == nil && (l.state.hinted == 0 || now-l.state.hinted >= hintActEvery)
		if act {
			l.state.hinted, l.state.next = now, now
		}
		l.mu.Unlock()
		if act {
			if err := s.initiate(l, now); err != nil {
				s.e.countError(err)
			}
		}
		return
	}
}

func (s *shaker) send(msg []byte, to netip.AddrPort) {
	s.out.Add(msg, len(msg), to)
	_ = s.out.Flush() // a lost handshake is tried again
}

// noteHalfOpen remembers a link that somebody asked for and has yet to confirm; the
// oldest goes when there are too many.
func (s *shaker) noteHalfOpen(l *Link, now int64) {
	if l.outbound.Load() {
		return
	}
	s.mu.Lock()
	if _, known := s.halfOpen[l]; !known {
		s.halfOpen[l] = now
	}
	var oldest *Link
	if len(s.halfOpen) > maxHalfOpen {
		for h, since := range s.halfOpen {
			if oldest == nil || since < s.halfOpen[oldest] {
				oldest = h
			}
		}
		delete(s.halfOpen, oldest)
	}
	s.mu.Unlock()
	if oldest != nil && !oldest.Up() {
		s.e.remove(oldest, errHalfOpen)
	}
}

var errHalfOpen = errors.New("link: the neighbour did not finish its handshake")

// sweepHalfOpen forgets links whose handshake was not finished in time.
func (s *shaker) sweepHalfOpen(now int64) {
	var gone []*Link
	s.mu.Lock()
	for l, since := range s.halfOpen {
		if l.Up() || l.outbound.Load() {
			delete(s.halfOpen, l)
		} else if now-since > int64(s.e.cfg.Limits.ConfirmWithin) {
			delete(s.halfOpen, l)
			gone = append(gone, l)
		}
	}
	s.mu.Unlock()
	for _, l := range gone {
		s.e.remove(l, errHalfOpen)
	}
}

// reserveInbound asks the policy whether one more link may come from there.
func (e *Engine) reserveInbound(pk cipher.PubKey, from netip.AddrPort) error {
	p := &e.cfg.Policy
	if !p.admits(pk) {
		return &dropError{DropPolicy, "its key is not on the list"}
	}
	at := place(from.Addr())
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.MaxLinks > 0 && e.inbound >= p.MaxLinks || p.MaxPerAddr > 0 && e.perAddr[at] >= p.MaxPerAddr {
		return &dropError{DropPolicy, "too many links"}
	}
	e.inbound++
	e.perAddr[at]++
	return nil
}

func (e *Engine) releaseInbound(l *Link) { e.releasePlace(l.place) }

func (e *Engine) releasePlace(at netip.Prefix) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inbound--
	if e.perAddr[at]--; e.perAddr[at] <= 0 {
		delete(e.perAddr, at)
	}
}
