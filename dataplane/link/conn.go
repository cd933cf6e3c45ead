package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Timing of a link's life.
const (
	probeAfter  = 3 * second  // of silence from the peer
	probeAgain  = second      // while it stays silent
	rttEvery    = 10 * second // a sample on busy links too
	deadAfter   = 9 * second
	retryFirst  = second      // between initiations while somebody may be waiting
	patience    = 4 * second  // then the attempt has failed, and retries slow down
	retryMost   = 30 * second // the slowest pace
	rekeyRetry  = second
	rekeyGiveUp = 5 * second
)

// epoch is one pair of keys; its User is the receiving half.
type epoch = noise.Epoch[*rxKey]

// An rxKey opens what arrives under one receiver index. For SUDPH it belongs to the
// worker that the index names, which touches win and confirmed without a lock.
type rxKey struct {
	index     uint32
	link      *Link
	key       *noise.RecvKey // nil while the handshake is under way
	epoch     *epoch
	win       noise.Window
	confirmed bool
	offer     offer // the peer's, in force with these keys
}

// newRxKey makes the epoch of a finished handshake, whose User is the result.
func newRxKey(l *Link, keys noise.Keys, local, remote uint32, o offer) *rxKey {
	k := &rxKey{index: local, link: l, offer: o}
	k.epoch = noise.NewEpoch(keys, local, remote, k)
	k.key = k.epoch.Recv
	return k
}

// open checks the counter, opens frame f in place and returns its route packet; nil
// and a reason if it must be dropped.
func (k *rxKey) open(nonce *noise.Nonce, f []byte, counter uint64) ([]byte, DropReason) {
	if !k.win.Check(counter) {
		return nil, DropReplay
	}
	sealed := f[packet.FrameHeaderLen:]
	pkt, err := k.key.Open(sealed[:0], sealed, f[:packet.FrameHeaderLen], nonce, 0, counter)
	if err != nil {
		return nil, DropAuth
	}
	k.win.Accept(counter)
	return pkt[:len(pkt):len(pkt)], 0
}

// connState is what a link knows about its connection; guarded by Link.mu.
type connState struct {
	target  string         // where to connect, as configured
	addr    netip.AddrPort // where the peer is now
	began   int64          // of the present attempts to connect
	next    int64          // when to try again
	wait    int64          // present pace of attempts
	offer   offer          // the peer's
	ours    *initiator     // our handshake that is under way
	jar     *noise.CookieJar
	upSince int64
	lastErr error
	changed chan struct{} // closed and replaced when the link comes up or an attempt fails

	probe     uint64 // token of the last link probe
	probeSent int64  // 0 once it has been answered
	probeNext int64
	rttNext   int64
	hinted    int64 // when a hint last made us start a handshake

	mtu mtuSearch
}

// ErrNoAnswer is in the error of an attempt that nobody answered.
var ErrNoAnswer = errors.New("no answer")

// noAnswer says what a user has to know when an attempt fails in silence: a visor
// with another key drops our handshakes without a word.
func (l *Link) noAnswer() error {
	return fmt.Errorf("link: no visor with key %s answered at %s; another key may live there: %w",
		l.peer, l.state.target, ErrNoAnswer)
}

// AddLink connects to the visor with key peer at addr and keeps the link until
// RemoveLink: it is set up again whenever it dies. It returns at once; WaitUp waits
// for the outcome.
//
// Errors: ErrExists, ErrSelf; an engine without UDP has no SUDPH links.
func (e *Engine) AddLink(peer cipher.PubKey, typ Type, addr netip.AddrPort) (*Link, error) {
	switch {
	case peer == e.pk:
		return nil, ErrSelf
	case typ == SUDPH && e.udp == nil:
		return nil, errors.New("link: SUDPH is off: no UDP address to listen on is configured")
	case typ != SUDPH && typ != STCPR:
		return nil, fmt.Errorf("link: cannot add a %s link by address", typ)
	case !addr.IsValid() || addr.Port() == 0:
		return nil, fmt.Errorf("link: %q is no address with a port", addr)
	}
	l, made, err := e.link(peer, typ)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !made && l.outbound.Load() {
		return nil, fmt.Errorf("%w: %s", ErrExists, l)
	}
	if !l.outbound.Swap(true) && !made {
		e.releaseInbound(l)
	}
	now := e.tick()
	l.state.target = addr.String()
	if !l.Up() {
		l.state.addr, l.state.began, l.state.next, l.state.wait = addr, now, now, retryFirst
		l.state.lastErr = nil
	}
	e.shake.kick()
	return l, nil
}

// RemoveLink closes and forgets the link of this type to peer.
func (e *Engine) RemoveLink(peer cipher.PubKey, typ Type) error {
	e.mu.Lock()
	l := e.links[linkKey{peer, typ}]
	e.mu.Unlock()
	if l == nil {
		return fmt.Errorf("%w: %s to %s", ErrNotFound, typ, peer)
	}
	l.sendControl(packet.KindClose, []byte{CloseRemoved})
	e.remove(l, errors.New("link: removed"))
	return nil
}

// link returns the link of this type to peer, which it makes if there is none.
func (e *Engine) link(peer cipher.PubKey, typ Type) (l *Link, made bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, false, errClosed
	}
	if l := e.links[linkKey{peer, typ}]; l != nil {
		return l, false, nil
	}
	e.lastID++
	l = &Link{e: e, id: e.lastID, peer: peer, typ: typ}
	l.state.changed = make(chan struct{})
	if l.keys, err = noise.NewRing(e.cfg.Limits, e.dropEpoch); err != nil {
		return nil, false, err
	}
	l.mtu.Store(packet.MinMTU)
	if typ != SUDPH {
		l.mtu.Store(packet.MaxRoutePacket)
	}
	l.directIn = e.handler.Attach(l)
	e.links[linkKey{peer, typ}] = l
	return l, true, nil
}

// dropEpoch frees an index whose keys have left their ring.
func (e *Engine) dropEpoch(ep *epoch) {
	if ep.User != nil && ep.User.index != 0 {
		e.keys.Store(indexSlot(ep.User.index), nil)
		e.indices.put(ep.User.index)
	}
}

// remove forgets l.
func (e *Engine) remove(l *Link, why error) {
	e.mu.Lock()
	key := linkKey{l.peer, l.typ}
	if e.links[key] != l {
		e.mu.Unlock()
		return
	}
	delete(e.links, key)
	e.mu.Unlock()
	l.down(why)
	if !l.outbound.Load() {
		e.releaseInbound(l)
	}
	e.post(func() { e.handler.Detach(l) })
}

// down ends the present connection, if there is one, and forgets its keys.
func (l *Link) down(why error) {
	l.mu.Lock()
	st := l.send.Swap(nil)
	l.abortOurs()
	l.keys.Clear()
	l.directOut.Store(0)
	l.rtt.Store(0)
	l.state.probeSent = 0
	if st != nil {
		now := l.e.tick()
		l.outcome(why)
		l.state.began, l.state.next, l.state.wait = now, now, retryFirst
		l.e.guard.Forget(l.peer)
		l.e.post(func() { l.e.handler.LinkDown(l, why) })
	}
	l.mu.Unlock()
	if st != nil {
		if st.stream != nil {
			st.stream.close(why)
		}
		l.e.log.Info().Stringer("peer", l.peer).Stringer("type", l.typ).AnErr("why", why).Msg("link down")
	}
}

// died is down for reasons other than our own will: links that others opened go
// with their connection.
func (l *Link) died(why error) {
	if l.outbound.Load() {
		l.down(why)
		return
	}
	l.e.remove(l, why)
}

func (l *Link) closedByPeer(reason byte) {
	texts := map[byte]string{
		CloseShutdown: "it is shutting down", CloseRemoved: "its operator removed the link",
		CloseReplaced: "a newer link took its place", CloseLimit: "it is over a limit",
	}
	text, ok := texts[reason]
	if !ok {
		text = fmt.Sprintf("reason %d", reason)
	}
	l.died(fmt.Errorf("link: closed by the neighbour: %s", text))
	l.mu.Lock()
	l.state.next += retryFirst // it will not be back within the same moment
	l.mu.Unlock()
}

// use starts to send with new keys. Called with l.mu held. Where we began the
// handshake, the caller sends something right after, which confirms them to the peer.
func (l *Link) use(ep *epoch, addr netip.AddrPort, s *stream, now int64) {
	wasUp := l.send.Load() != nil
	next := &sendState{epoch: ep, addr: addr, stream: s}
	if old := l.send.Load(); old != nil && old.addr == addr {
		next.path = old.path
	}
	l.state.addr = addr
	l.directOut.Store(uint32(l.state.offer.direct))
	l.lastRecv.Store(now)
	if l.typ == SUDPH {
		l.mtu.Store(min(l.mtu.Load(), int32(l.state.offer.maxPacket)))
	} else {
		l.mtu.Store(int32(l.state.offer.maxPacket &^ (packet.RouteAlign - 1)))
	}
	l.send.Store(next)
	if wasUp {
		return
	}
	l.state.upSince = now
	l.outcome(nil)
	l.state.probeNext, l.state.rttNext = now, now
	if l.typ == SUDPH {
		l.startMTU(now)
	}
	l.e.post(func() { l.e.handler.LinkUp(l) })
	l.e.log.Info().Stringer("peer", l.peer).Stringer("type", l.typ).Stringer("addr", addr).Msg("link up")
}

// confirm hears of the first packet under keys whose handshake the peer began: it
// has them, so we may send with them.
func (l *Link) confirm(k *rxKey, from netip.AddrPort, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.keys.Confirm(k.epoch) {
		return
	}
	if !l.e.guard.Track(l.peer, k.offer.timestamp) {
		l.e.count(DropPolicy)
		return
	}
	l.state.offer = k.offer
	l.use(k.epoch, from, nil, now)
}

// abortOurs forgets our handshake that is under way. Called with l.mu held.
func (l *Link) abortOurs() {
	if i := l.state.ours; i != nil {
		l.e.keys.Store(indexSlot(i.index), nil)
		l.e.indices.put(i.index)
		l.state.ours = nil
	}
	l.keys.Abort()
}

// backOff sets the time of the next attempt: each second at first, then slower and
// slower, with jitter so that a thousand visors do not call as one.
func (l *Link) backOff(now int64) {
	if now-l.state.began > patience {
		l.state.wait = min(l.state.wait*3/2, retryMost)
	}
	l.state.next = now + l.state.wait*3/4 + rand.Int64N(l.state.wait/2)
}

// Info returns a snapshot.
func (l *Link) Info() Info {
	now := l.e.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	i := Info{
		ID: l.id, Peer: l.peer, Type: l.typ, Outbound: l.outbound.Load(), Up: l.Up(), Addr: l.state.target,
		RTT: l.RTT(), MTU: l.MTU(),
		RxPackets: l.rxPackets.Load(), RxBytes: l.rxBytes.Load(),
		TxPackets: l.txPackets.Load(), TxBytes: l.txBytes.Load(), TxDrops: l.txDrops.Load(),
	}
	if l.state.addr.IsValid() {
		i.Addr = l.state.addr.String()
	}
	if i.Up {
		i.Since = time.Duration(now - l.state.upSince)
		i.Idle = time.Duration(max(now-l.lastRecv.Load(), 0))
	}
	if l.state.lastErr != nil {
		i.LastError = l.state.lastErr.Error()
	}
	return i
}

// outcome notes how the connection or an attempt at it went, and tells whoever
// waits. Called with l.mu held.
func (l *Link) outcome(err error) {
	l.state.lastErr = err
	close(l.state.changed)
	l.state.changed = make(chan struct{})
}

// WaitUp waits until the link is up, an attempt to connect has failed, which takes
// about four seconds where nobody answers, or ctx ends.
func (l *Link) WaitUp(ctx context.Context) error {
	for {
		l.mu.Lock()
		err, changed := l.state.lastErr, l.state.changed
		l.mu.Unlock()
		if l.Up() {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
