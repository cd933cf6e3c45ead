package link

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// Limits against floods of handshakes. One answer costs about a millisecond of
// elliptic curves, so the queue is at most an eighth of a second of work.
const (
	shakeQueue  = 128
	shakeFreely = 16 // with fewer in the queue nobody has to show a cookie …

	freeASec  = 100 // … unless more than so many a second come without: a tenth of a core
	freeBurst = 64

	// With a cookie the sender is where it says, and its place has a share.
	placeASec  = 20
	placeBurst = 80 // more than one place may have links, see DefaultPolicy

	cookieBurst  = 64
	cookiesASec  = 20000
	hintsASec    = 200
	hintsHeard   = 100 // hints that we look at, a second
	hintActEvery = 5 * second
)

// A shaker does the handshakes of all UDP links on one goroutine of its own, away
// from the packets. Workers hand messages over through a bounded queue and, when
// it fills, ask for cookies instead.
type shaker struct {
	e       *Engine
	checker *noise.CookieChecker
	queue   chan shakeMsg
	wake    chan struct{} // a link wants to connect or to change keys
	out     *udpio.Writer

	free    bucket // initiations without a cookie
	places  *placeBuckets
	cookies bucket // replies that we send …
	hints   bucket // … and hints
	heard   bucket // hints that we look at

	mu       sync.Mutex
	halfOpen nursery
}

type shakeMsg struct {
	buf  *packet.Small
	n    int
	from netip.AddrPort
}

func newShaker(e *Engine) *shaker {
	return &shaker{
		e: e, checker: noise.NewCookieChecker(e.pk),
		queue: make(chan shakeMsg, shakeQueue), wake: make(chan struct{}, 1),
		halfOpen: nursery{},
		free:     bucket{rate: freeASec, depth: freeBurst},
		places:   newPlaceBuckets(placeASec, placeBurst),
		cookies:  bucket{rate: cookiesASec, depth: cookieBurst},
		hints:    bucket{rate: hintsASec, depth: hintsASec},
		heard:    bucket{rate: hintsHeard, depth: hintsHeard},
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
	h, ok := packet.ParseHandshakeHeader(f)
	if !ok {
		w.e.count(DropMalformed)
		return
	}
	if !w.worthwhile(h, f, from, now) {
		return // counted
	}
	m := shakeMsg{buf: packet.GetSmall(), from: from}
	m.n = copy(m.buf.B[:], f)
	select {
	case w.e.shake.queue <- m:
	default:
		w.e.count(DropHandshakeQueue)
		m.buf.Free()
	}
}

// worthwhile reports whether a message may go to the queue, and counts it if not.
// What it lets through while others flood us: answers to handshakes that we have
// begun, and initiations from where we can see that they come from.
func (w *worker) worthwhile(h packet.HandshakeHeader, f []byte, from netip.AddrPort, now int64) bool {
	s := w.e.shake
	switch h.Type {
	case packet.FrameUnknownIndex:
		if !s.heard.take(now) {
			w.e.count(DropHandshakeQueue)
			return false
		}
		return true
	case packet.FrameCookie, packet.FrameResponse:
		if w.e.pending(h.Receiver) == nil {
			w.e.count(DropUnknownIndex)
			return false
		}
		if h.Type == packet.FrameCookie {
			return true
		}
	}
	if !s.checker.CheckMAC1(f) {
		w.e.count(DropMAC1)
		return false
	}
	if h.Type == packet.FrameResponse {
		return true
	}
	switch {
	case hasMAC2(f) && s.checker.CheckMAC2(f, from, time.Duration(now)):
		if !s.places.take(place(from.Addr()), now) {
			w.e.count(DropRate)
			return false
		}
	case len(s.queue) >= shakeFreely || !s.free.take(now):
		w.e.count(DropNoCookie)
		w.sendCookie(f, h, from, now)
		return false
	}
	return true
}

// hasMAC2 reports whether the last 16 bytes of a handshake message are not all zero.
func hasMAC2(f []byte) bool {
	mac2 := f[len(f)-packet.MACsLen/2:]
	return binary.NativeEndian.Uint64(mac2)|binary.NativeEndian.Uint64(mac2[8:]) != 0
}

// pending returns the entry of a handshake of ours that is under way, or nil.
func (e *Engine) pending(index uint32) *rxKey {
	if k := e.keys.Load(indexSlot(index)); k != nil && k.index == index && k.key == nil {
		return k
	}
	return nil
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
		err = s.initiation(msg, m.from, now)
	case packet.FrameResponse:
		err = s.response(h, msg, now)
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
func (s *shaker) initiation(msg []byte, from netip.AddrPort, now int64) error {
	r, err := readInitiation(s.e.cfg.Static, SUDPH, msg)
	if err != nil {
		return err
	}
	l, err := s.e.admit(r, SUDPH, place(from.Addr()), now)
	if err != nil {
		return err
	}
	s.noteHalfOpen(l, now)
	reply, err := s.e.answer(l, r, from, now)
	if err != nil {
		return err
	}
	s.send(reply, from)
	return nil
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
func (e *Engine) workerFor(l *Link) int { return int(l.id % uint32(e.udp.Len())) }

func (s *shaker) send(msg []byte, to netip.AddrPort) {
	s.out.Add(msg, len(msg), to)
	_ = s.out.Flush() // a lost handshake is tried again
}
