package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Timing of a link's life.
const (
	probeAfter = 3 * second  // of silence from the peer
	probeAgain = second      // while it stays silent
	rttEvery   = 10 * second // a sample on busy links too
	deadAfter  = 9 * second
	retryFirst = second      // between initiations while somebody may be waiting
	patience   = 4 * second  // then the attempt has failed, and retries slow down
	retryMost  = 30 * second // the slowest pace
	rekeyRetry = second      // at least; see Link.shakeRetry
)

// epoch is one pair of keys; its User is the receiving half.
type epoch = noise.Epoch[*rxKey]

// An rxKey opens what arrives under one receiver index. For SUDPH it belongs to the
// worker that the index names, which touches win, top and confirmed without a lock.
type rxKey struct {
	index     uint32
	link      *Link
	key       *noise.RecvKey // nil while the handshake is under way
	epoch     *epoch
	win       noise.Window
	top       uint64 // highest counter opened, plus one
	confirmed bool
	offer     offer          // the peer's, in force with these keys
	answered  netip.AddrPort // where our answer went, if the peer began
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
	target netip.AddrPort // where to connect, as configured; not valid if never
	addr   netip.AddrPort // where the peer is now
	gone   bool           // removed for good
	began  int64          // of the present attempts to connect
	// despaired says that those attempts count as failed, though they go on.
	despaired bool
	silent    bool       // a connection for one of them came about, and nobody answered on it
	next      int64      // when to try again
	wait      int64      // present pace of attempts
	offer     offer      // the peer's
	ours      *initiator // our handshake that is under way
	jar       *noise.CookieJar
	upSince   int64
	lastErr   error
	changed   chan struct{} // closed and replaced when the link comes up or an attempt fails

	probe     uint64 // token of the last link probe
	probeLast int64  // when it left
	probeSent int64  // the same, but 0 once it has been answered
	probeNext int64
	rttNext   int64
	check     check
	hinted    int64 // when a hint last made us start a handshake
	cookied   int64 // when a cookie last did

	asked   uint64 // timestamp of the peer's last initiation that we took up
	askedAt int64  // and when that was

	mtu     mtuSearch
	figures figures
}

// ErrNoAnswer is in the error of an attempt that nobody answered.
var ErrNoAnswer = errors.New("no answer")

// shakeRetry is how long an answer to an initiation may take while the link is up.
func (l *Link) shakeRetry() int64 { return max(rekeyRetry, 3*l.rtt.Load()) }

// despair notes, once, that nobody has answered for as long as somebody may be
// waiting. The attempts go on. Called by the timer while the link is down.
func (l *Link) despair(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if (l.state.ours != nil || l.state.silent) && !l.Up() && !l.state.despaired && now-l.state.began > patience {
		l.state.despaired = true
		l.outcome(l.noAnswer())
	}
}

// A silence is an ErrNoAnswer that says what a user has to know: a visor with another
// key drops our handshakes without a word.
type silence struct {
	peer cipher.PubKey
	at   netip.AddrPort
}

func (s *silence) Error() string {
	if !s.at.IsValid() {
		return fmt.Sprintf("link: no visor with key %s answered on its dmsg stream", s.peer)
	}
	return fmt.Sprintf("link: no visor with key %s answered at %s; another key may live there", s.peer, s.at)
}

func (s *silence) Unwrap() error { return ErrNoAnswer }

func (l *Link) noAnswer() error { return &silence{l.peer, l.state.target} }

// AddLink connects to the visor with key peer at addr and keeps the link until
// RemoveLink: it is set up again whenever it dies. It returns at once; WaitUp waits
// for the outcome. A link that the neighbour has opened becomes ours as it is; addr
// is then where we look for the neighbour when it dies.
//
// A DMSG link goes by key alone, its addr is the zero value.
//
// Errors: ErrExists, ErrSelf; an engine without UDP has no SUDPH links, one without
// Config.Streams no DMSG links.
func (e *Engine) AddLink(peer cipher.PubKey, typ Type, addr netip.AddrPort) (*Link, error) {
	addr, err := e.checkTarget(peer, typ, addr)
	if err != nil {
		return nil, err
	}
	l, err := e.link(peer, typ, false, netip.Prefix{})
	if errors.Is(err, ErrExists) {
		return nil, fmt.Errorf("%w: %s link to %s", ErrExists, typ, peer)
	}
	if err != nil {
		return nil, err
	}
	now := e.tick()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.target = addr
	if !l.Up() {
		l.state.addr, l.state.lastErr = addr, nil
		l.startOver(now)
	}
	e.shake.kick()
	return l, nil
}

// checkTarget refuses what cannot become a link and returns addr in the form in which
// the sockets report it: no mapped IPv4, zones as numbers.
func (e *Engine) checkTarget(peer cipher.PubKey, typ Type, addr netip.AddrPort) (netip.AddrPort, error) {
	switch {
	case peer == e.pk:
		return addr, ErrSelf
	case typ == SUDPH && e.udp == nil:
		return addr, errors.New("link: SUDPH is off: no UDP address to listen on is configured")
	case typ == DMSG && e.cfg.Streams == nil:
		return addr, errors.New("link: dmsg is off: no client of it is configured")
	case typ == DMSG && addr.IsValid():
		return addr, fmt.Errorf("link: a dmsg link goes by key alone, not to %s", addr)
	case typ == DMSG:
		return addr, nil
	case typ != SUDPH && typ != STCPR:
		return addr, fmt.Errorf("link: no links of type %s", typ)
	}
	return e.underlay(typ, addr)
}

// underlay returns addr in the form in which the sockets report it, or why nothing can
// be sent there.
func (e *Engine) underlay(typ Type, addr netip.AddrPort) (netip.AddrPort, error) {
	if !addr.IsValid() || addr.Port() == 0 {
		return addr, fmt.Errorf("link: %q is no address with a port", addr)
	}
	ip := addr.Addr().Unmap()
	if zone := ip.Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			ip = ip.WithZone(strconv.Itoa(ifi.Index))
		}
	}
	if typ == SUDPH && ip.Is6() && e.udp.LocalAddr().Addr().Is4() {
		return addr, fmt.Errorf("link: cannot reach %s: SUDPH listens on IPv4 only, at %s", addr, e.udp.LocalAddr())
	}
	return netip.AddrPortFrom(ip, addr.Port()), nil
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
	e.remove(l, errGone)
	return nil
}

// dropEpoch frees an index whose keys have left their ring.
func (e *Engine) dropEpoch(ep *epoch) {
	if ep.User != nil && ep.User.index != 0 {
		e.keys.Store(indexSlot(ep.User.index), nil)
		e.indices.put(ep.User.index)
	}
}

// down ends the present connection, if there is one, and forgets its keys.
func (l *Link) down(why error) { l.disconnect(why, false) }

// end is down for good: nothing brings the link up again, and whoever waits for
// that hears why.
func (l *Link) end(why error) { l.disconnect(why, true) }

func (l *Link) disconnect(why error, forGood bool) {
	l.mu.Lock()
	st := l.send.Swap(nil)
	l.state.gone = l.state.gone || forGood
	l.abortOurs()
	l.keys.Clear()
	l.directOut.Store(0)
	l.rtt.Store(0)
	l.state.probeSent, l.state.check = 0, check{}
	if st != nil || forGood {
		l.outcome(why)
	}
	if st != nil {
		l.resetAddr()
		l.startOver(l.e.tick())
		l.state.asked, l.state.askedAt = 0, 0
		l.e.forgetTimestamp(l)
		l.e.post(func() { l.e.handler.LinkDown(l, why); l.e.tell(l, false, why) })
	}
	l.mu.Unlock()
	if st != nil {
		if st.stream != nil {
			st.stream.close(why)
		}
		l.e.log.Info().Stringer("peer", l.peer).Stringer("type", l.typ).AnErr("why", why).Msg("link down")
	}
}

// resetAddr goes back to where the neighbour is configured to be: where it was last
// may be an address that it has lost. Called with l.mu held.
func (l *Link) resetAddr() {
	if l.typ == SUDPH {
		l.mtu.Store(packet.MinMTU)
	}
	if l.outbound.Load() && l.state.target.IsValid() {
		l.state.addr = l.state.target
	}
}

// startOver begins a series of attempts to connect. Called with l.mu held.
func (l *Link) startOver(now int64) {
	l.state.began, l.state.next, l.state.wait = now, now, retryFirst
	l.state.despaired, l.state.silent = false, false
}

// forgetTimestamp drops what we know of the neighbour's handshake clock, unless
// another link to it is up. A neighbour whose clock went back gets in again then.
func (e *Engine) forgetTimestamp(l *Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, typ := range [...]Type{STCPR, SUDPH, DMSG} {
		if other := e.links[linkKey{l.peer, typ}]; other != nil && other != l && other.Up() {
			return
		}
	}
	e.guard.Forget(l.peer)
}

// died is down for reasons other than our own will: links that others opened go
// with their connection.
func (l *Link) died(why error) {
	if !l.e.removeInbound(l, why) {
		l.down(why)
	}
}

// closedByPeer ends the connection that st was the state of, if it is still there.
func (l *Link) closedByPeer(st *sendState, reason byte) {
	l.closing.Store(false)
	if now := l.send.Load(); now == nil || st == nil || now.epoch != st.epoch {
		return
	}
	l.died(fmt.Errorf("link: closed by the neighbour: %s", closeText(reason)))
	l.mu.Lock()
	l.state.next += retryFirst // it will not be back within the same moment
	l.mu.Unlock()
}

func closeText(reason byte) string {
	switch reason {
	case CloseShutdown:
		return "it is shutting down"
	case CloseRemoved:
		return "its operator removed the link"
	case CloseReplaced:
		return "a newer link took its place"
	case CloseLimit:
		return "it is over a limit"
	}
	return fmt.Sprintf("reason %d", reason)
}

// use starts to send with new keys to addr, where the peer has just proved to
// receive. Called with l.mu held. Where we began the handshake, the caller sends
// something right after, which confirms the keys to the peer. It reports false, and
// does nothing, if the link has been removed.
func (l *Link) use(ep *epoch, addr netip.AddrPort, s *stream, now int64) bool {
	if l.state.gone {
		return false
	}
	wasUp := l.send.Load() != nil
	next := &sendState{epoch: ep, addr: addr, stream: s, until: int64(ep.Made() + l.e.cfg.Limits.RejectAfter)}
	moved := l.state.addr != addr
	l.state.addr = addr
	l.directOut.Store(uint32(l.state.offer.direct))
	l.lastRecv.Store(now)
	if most := int32(l.state.offer.maxPacket &^ (packet.RouteAlign - 1)); l.typ != SUDPH || l.mtu.Load() > most {
		l.mtu.Store(most)
	}
	l.send.Store(next)
	if l.typ == SUDPH && (!wasUp || moved) {
		l.startMTU()
	}
	if wasUp {
		return true
	}
	l.state.upSince = now
	l.outcome(nil)
	l.state.probeNext, l.state.rttNext = now, now
	l.e.post(func() { l.e.handler.LinkUp(l); l.e.tell(l, true, nil) })
	l.e.log.Info().Stringer("peer", l.peer).Stringer("type", l.typ).Stringer("addr", addr).Msg("link up")
	return true
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
		ID: l.id, Peer: l.peer, Type: l.typ, Outbound: l.outbound.Load(), Up: l.Up(), RTT: l.RTT(), MTU: l.MTU(),
		RxPackets: l.rxPackets.Load(), RxBytes: l.rxBytes.Load(),
		TxPackets: l.txPackets.Load(), TxBytes: l.txBytes.Load(), TxDrops: l.txDrops.Load(),
	}
	i.LossPPM, i.Mbps = int64(1e6*l.state.figures.loss), l.state.figures.mbps
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
