package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

var (
	errReplaced = errors.New("link: a newer connection took its place")
	errRefused  = errors.New("link: the connection is not wanted any more")
)

// idleStreams is what streams of all engines leave to each other. Like the pools of
// package packet it holds blank memory and no state.
var idleStreams streamPool

// A streamConn is one connection of a stream link, with its handshake behind it. A
// link has one that it sends on; an older one may linger for moments, and newer
// ones may be about to prove themselves.
type streamConn struct {
	l    *Link
	addr netip.AddrPort
	s    *stream // set once, with l.mu held

	// Of the reader's goroutine, for inbound connections: until the peer's first
	// record shows that it has the keys, nothing is sent and the link knows nothing.
	proved bool
	first  *epoch
	leave  func() // gives back what an unproved connection takes
	offer  offer

	// A change of keys that is under way; guarded by l.mu.
	ours      *initiator // we asked
	next      *epoch     // we answered, and the peer has not switched yet
	nextOffer offer
	answering bool
	asked     int64 // when the peer asked last
}

// connectOver runs our handshake over a fresh connection and makes it the link's.
// On an error the caller closes conn. ctx bounds the handshake.
func (l *Link) connectOver(ctx context.Context, conn net.Conn, began int64) error {
	e := l.e
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // unblocks the reads
	defer stop()
	ours, msg, err := newInitiation(e.cfg.Static, l.peer, l.typ, 0, e.offerOn(l, e.cfg.Clock.Next()))
	if err != nil {
		return err
	}
	if err := noise.NewCookieJar(l.peer).AddMACs(msg, time.Duration(e.Now())); err != nil {
		return err
	}
	if err := writeBody(conn, msg); err != nil {
		return err
	}
	reply, err := readBody(conn)
	if err != nil {
		return err
	}
	if h, ok := packet.ParseHandshakeHeader(reply); !ok || h.Type != packet.FrameResponse || !e.shake.checker.CheckMAC1(reply) {
		return errMessage
	}
	keys, o, err := ours.finish(reply)
	if err != nil {
		return err
	}
	if !stop() {
		return context.Cause(ctx)
	}
	now := e.tick()
	ep := newRxKey(l, keys, 0, 0, o).epoch
	c := &streamConn{l: l, addr: remoteAddr(conn), proved: true, leave: func() {}}
	l.mu.Lock()
	if !l.attempting(began) || l.state.gone || l.Up() {
		l.mu.Unlock()
		return errRefused
	}
	l.keys.InstallInitiator(ep, time.Duration(now))
	c.start(conn, ep)
	c.use(ep, o, now)
	l.mu.Unlock()
	l.sendProbe(now) // the first record proves us to the peer
	return nil
}

// An arrival is an inbound connection.
type arrival struct {
	conn net.Conn
	typ  Type
	addr netip.AddrPort // not valid for what has none
	at   netip.Prefix   // what limits per place count it by
	key  cipher.PubKey  // whom the carrier says it is from; zero if it says nothing
}

// acceptStream answers the handshake on an inbound connection. When the peer has
// proved its key, or the connection has ended, it calls leave; on an error the
// caller closes a.conn and calls leave itself. curves is held while points are
// multiplied.
func (e *Engine) acceptStream(ctx context.Context, a arrival, curves chan struct{}, leave func()) error {
	conn := a.conn
	// It ends when the peer has proved its key.
	if err := conn.SetDeadline(time.Now().Add(streamPatience)); err != nil {
		return err
	}
	msg, err := readBody(conn)
	if err != nil {
		return err
	}
	if h, ok := packet.ParseHandshakeHeader(msg); !ok || h.Type != packet.FrameInitiation {
		return errMessage
	}
	if !e.shake.checker.CheckMAC1(msg) {
		return &dropError{DropMAC1, "the handshake is for another key"}
	}
	select {
	case curves <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l, r, reply, keys, err := e.answerStream(msg, a)
	<-curves
	if err != nil {
		return err
	}
	if err := writeBody(conn, reply); err != nil {
		return err
	}
	c := &streamConn{l: l, addr: a.addr, offer: r.offer, leave: leave}
	c.first = newRxKey(l, keys, 0, 0, r.offer).epoch
	l.mu.Lock()
	c.start(conn, c.first)
	l.mu.Unlock()
	return nil
}

func (e *Engine) answerStream(msg []byte, a arrival) (*Link, *responder, []byte, noise.Keys, error) {
	now := e.tick()
	r, err := readInitiation(e.cfg.Static, a.typ, msg)
	if err != nil {
		return nil, nil, nil, noise.Keys{}, err
	}
	if !a.key.IsZero() && r.peer != a.key {
		return nil, nil, nil, noise.Keys{}, &dropError{DropPolicy, "its key is not the one that its stream is from"}
	}
	l, err := e.admit(r, a.typ, a.at, now)
	if err != nil {
		return nil, nil, nil, noise.Keys{}, err
	}
	if !l.Up() {
		e.shake.noteHalfOpen(l, now)
	}
	reply, keys, err := r.answer(0, e.offerOn(l, 0))
	if err == nil {
		err = noise.NewCookieJar(r.peer).AddMACs(reply, time.Duration(now))
	}
	return l, r, reply, keys, err
}

// start runs the stream. Called with l.mu held.
func (c *streamConn) start(conn net.Conn, ep *epoch) {
	e := c.l.e
	c.s = newStream(conn, ep.Send, ep.Recv, streamConfig{
		link: c.l, pool: &idleStreams, wg: &e.streams, now: e.tick, tx: e.GetTx, put: e.PutTx,
		onBurst: c.burst, onControl: c.control, onClosed: c.closed,
	})
	c.s.owner = c
}

// use makes c the connection that its link sends on, and returns the stream that it
// replaces. Called with l.mu held.
func (c *streamConn) use(ep *epoch, o offer, now int64) (old *stream) {
	l := c.l
	if st := l.send.Load(); st != nil && st.stream != c.s {
		old = st.stream
	}
	l.state.offer = o
	l.use(ep, c.addr, c.s, now)
	return old
}

func replace(old *stream) {
	if old != nil {
		old.sendControl(controlPacket(packet.KindClose, []byte{CloseReplaced}))
		old.close(errReplaced)
	}
}

// prove hears of the first packet on an inbound connection: the peer has the keys,
// so this is no replay, and the newest connection is the link's.
func (c *streamConn) prove(now int64) bool {
	l := c.l
	l.mu.Lock()
	if l.state.gone || !l.e.guard.Track(l.peer, c.offer.timestamp) {
		l.mu.Unlock()
		l.e.count(DropPolicy)
		c.s.close(errRefused)
		return false
	}
	l.keys.InstallResponder(c.first, time.Duration(now))
	l.keys.Confirm(c.first)
	old := c.use(c.first, c.offer, now)
	l.mu.Unlock()
	replace(old)
	_ = c.s.conn.SetDeadline(time.Time{}) // fails on a closed one only
	c.leave()
	c.proved, c.first = true, nil
	return true
}

// burst takes data from the stream.
func (c *streamConn) burst(b *Burst) {
	if !c.proved && !c.prove(b.Now) {
		return
	}
	l := c.l
	size := 0
	for _, p := range b.Pkt[:b.N] {
		size += len(p)
	}
	l.lastRecv.Store(b.Now)
	l.rxPackets.Add(uint64(b.N))
	l.rxBytes.Add(uint64(size))
	l.e.handler.HandleBurst(b)
}

// control takes label 0 packets from the stream.
func (c *streamConn) control(pkt []byte, now int64) {
	if !c.proved && !c.prove(now) {
		return
	}
	l := c.l
	l.lastRecv.Store(now)
	l.rxPackets.Add(1)
	switch packet.Kind(pkt[4]) {
	case packet.KindRekey, packet.KindRekeyed, packet.KindSwitched:
		h, body, ok := packet.ParseRoute(pkt)
		if !ok || h.Flags != 0 {
			l.e.count(DropControl)
			return
		}
		if err := c.changeKeys(h.Kind, body, now); err != nil {
			l.e.countError(err)
			c.stream().close(err)
		}
	case packet.KindClose:
		if c.current() { // the end of an old connection is not that of the link
			l.control(pkt, c.addr, now)
		}
	default:
		l.control(pkt, c.addr, now)
	}
}

// closed hears that the stream has ended.
func (c *streamConn) closed(err error) {
	if errors.Is(err, errRecord) {
		c.l.e.count(DropRecord)
	}
	c.leave()
	if c.current() {
		c.l.died(fmt.Errorf("%w: %w", ErrLost, err))
	}
}

// stream returns c.s, which its reader may need before newStream has returned.
func (c *streamConn) stream() *stream {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return c.s
}

// current reports whether the link sends on this connection.
func (c *streamConn) current() bool {
	st := c.l.send.Load()
	return st != nil && st.stream == c.stream()
}

func controlPacket(kind packet.Kind, body []byte) []byte {
	pkt := make([]byte, packet.Padded(len(body)))
	putControl(pkt, kind, body)
	return pkt
}
