package link

import (
	"time"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// rekeyPause is the least time between two changes of keys that a peer asks for.
// Each costs us a millisecond of elliptic curves.
const rekeyPause = int64(50 * time.Millisecond)

// rekeyStreamDue asks the peer for new keys if it is time for them (docs/wire.md
// section 3). It runs on the timer; the curves get a goroutine of their own.
func (l *Link) rekeyStreamDue(now int64) {
	l.dropLateRequest(now)
	if !l.keys.NeedRekey(time.Duration(now)) {
		return
	}
	st := l.send.Load()
	if st == nil || st.stream == nil || !l.keys.Begin(time.Duration(now)) {
		return
	}
	l.e.streams.Go(func() { st.stream.owner.askKeys(now) })
}

// dropLateRequest gives up a request that has had a third of the time between the first
// and the keys' end: whatever became of it, another one is due.
func (l *Link) dropLateRequest(now int64) {
	limits := &l.e.cfg.Limits
	late := func() bool {
		at, busy := l.keys.Attempt()
		return busy && time.Duration(now)-at > (limits.RejectAfter-limits.RekeyAfter)/3
	}
	if !late() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.send.Load()
	if st == nil || st.stream == nil || !late() {
		return
	}
	l.keys.Abort()
	st.stream.owner.ours = nil
}

// askKeys sends the first message of a handshake inside the stream.
func (c *streamConn) askKeys(began int64) {
	l := c.l
	ours, msg, err := newInitiation(l.e.cfg.Static, l.peer, l.typ, 0, l.e.offerOn(l, l.e.cfg.Clock.Next()))
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.attempting(began) {
		return // the peer asked at the same time, and its handshake goes on
	}
	if c.answering || c.next != nil {
		l.keys.Abort() // the peer's own request goes on, and would find its answer unexpected
		return
	}
	if err != nil || !c.s.sendControl(controlPacket(packet.KindRekey, unframe(msg))) {
		l.keys.Abort() // the next tick tries again
		return
	}
	c.ours = ours
}

// changeKeys takes the messages of a change of keys, on the reader's goroutine. An
// error ends the connection.
func (c *streamConn) changeKeys(kind packet.Kind, body []byte, now int64) error {
	switch {
	case kind == packet.KindRekey:
		return c.askedForKeys(body, now)
	case kind == packet.KindRekeyed:
		return c.gotKeys(body, now)
	case len(body) == 0:
		return c.peerSwitched(now)
	}
	return &dropError{DropControl, "a switch of keys with a body"}
}

// askedForKeys answers the peer's request on another goroutine: data goes on.
func (c *streamConn) askedForKeys(body []byte, now int64) error {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, busy := l.keys.Attempt(); busy {
		if noise.WinsTie(l.e.pk, l.peer) {
			l.e.count(DropTie)
			return nil // the peer drops its own when it sees ours
		}
		l.keys.Abort()
		c.ours = nil
	}
	if c.answering || c.next != nil || c.asked != 0 && now-c.asked < rekeyPause {
		return errSwitches
	}
	c.answering, c.asked = true, now
	msg := frame(packet.FrameInitiation, body)
	l.e.streams.Go(func() {
		if err := c.answerKeys(msg); err != nil {
			l.e.countError(err)
			c.stream().close(err)
		}
	})
	return nil
}

func (c *streamConn) answerKeys(msg []byte) error {
	l := c.l
	r, err := readInitiation(l.e.cfg.Static, l.typ, msg)
	if err != nil {
		return err
	}
	if r.peer != l.peer {
		return &dropError{DropHandshake, "the peer asks for keys in another's name"}
	}
	// Nothing can be played back inside a stream. So an older timestamp is in order:
	// a handshake of another link to this neighbour may have overtaken the request.
	if !l.e.guard.Track(r.peer, r.offer.timestamp) {
		return &dropError{DropPolicy, "too many links"}
	}
	reply, keys, err := r.answer(0, l.e.offerOn(l, 0))
	if err != nil {
		return err
	}
	ep := newRxKey(l, keys, 0, 0, r.offer).epoch
	l.mu.Lock()
	c.answering, c.next, c.nextOffer = false, ep, r.offer
	l.mu.Unlock()
	c.s.switchSend(controlPacket(packet.KindRekeyed, unframe(reply)), ep.Send)
	return nil
}

// gotKeys takes the answer. It has to be computed right here: the next record is
// under the new key.
func (c *streamConn) gotKeys(body []byte, now int64) error {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.ours == nil {
		return &dropError{DropControl, "keys that nobody asked for"}
	}
	keys, o, err := c.ours.finish(frame(packet.FrameResponse, body))
	c.ours = nil
	if err != nil {
		return err
	}
	ep := newRxKey(l, keys, 0, 0, o).epoch
	c.s.switchRecv(ep.Recv)
	c.s.switchSend(controlPacket(packet.KindSwitched, nil), ep.Send)
	if st := l.send.Load(); st != nil && st.stream == c.s {
		l.keys.InstallInitiator(ep, time.Duration(now))
		c.use(ep, o, now)
	}
	return nil
}

// peerSwitched follows the peer to the new keys.
func (c *streamConn) peerSwitched(now int64) error {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	ep := c.next
	if ep == nil {
		return &dropError{DropControl, "a switch to keys that do not exist"}
	}
	c.next = nil
	c.s.switchRecv(ep.Recv)
	if st := l.send.Load(); st != nil && st.stream == c.s {
		l.keys.InstallResponder(ep, time.Duration(now))
		l.keys.Confirm(ep)
		c.use(ep, c.nextOffer, now)
	}
	return nil
}

// frame puts a Noise message into the frame that the handshake code expects;
// unframe takes it out. Inside a stream there is nothing for header and macs to do.
func frame(t packet.FrameType, msg []byte) []byte {
	b := packet.HandshakeHeader{Type: t}.Append(make([]byte, 0, packet.HandshakeHeaderLen+len(msg)+packet.MACsLen))
	b = append(b, msg...)
	return append(b, make([]byte, packet.MACsLen)...)
}

func unframe(b []byte) []byte { return b[packet.HandshakeHeaderLen : len(b)-packet.MACsLen] }
