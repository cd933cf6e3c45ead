package link

import (
	"net/netip"
	"time"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// errOver says that a message belongs to a handshake that has ended.
var errOver = &dropError{DropUnknownIndex, "answer to a handshake that is over"}

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
	if now < l.state.next || l.state.gone {
		return false
	}
	if !l.Up() {
		return l.outbound.Load() && l.state.addr.IsValid()
	}
	return l.keys.NeedRekey(time.Duration(now)) || l.state.ours != nil
}

// initiate sends an initiation, a new one each time. No lock is held while it
// multiplies; only this goroutine begins UDP handshakes.
func (s *shaker) initiate(l *Link, now int64) error {
	index, err := s.e.indices.take(s.e.workerFor(l))
	if err != nil {
		return err
	}
	ours, msg, err := newInitiation(s.e.cfg.Static, l.peer, SUDPH, index, s.e.offerOn(l, s.e.cfg.Clock.Next()))
	if err != nil {
		s.e.indices.put(index)
		return err
	}
	to, err := l.begin(ours, msg, now)
	if err != nil {
		s.e.indices.put(index)
		return err
	}
	s.send(msg, to)
	return nil
}

// begin makes ours the handshake that is under way, in the place of an older one,
// completes msg and returns where it goes.
func (l *Link) begin(ours *initiator, msg []byte, now int64) (to netip.AddrPort, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.gone {
		return to, errGone
	}
	if err := l.jar().AddMACs(msg, time.Duration(now)); err != nil {
		return to, err
	}
	l.abortOurs()
	ours.to = l.state.addr
	l.state.ours = ours
	l.keys.Begin(time.Duration(now))
	l.e.keys.Store(indexSlot(ours.index), &rxKey{index: ours.index, link: l})
	if l.Up() {
		l.state.next = now + l.shakeRetry()
	} else {
		l.backOff(now)
	}
	return ours.to, nil
}

// jar holds the peer's cookie and adds the macs. Called with l.mu held.
func (l *Link) jar() *noise.CookieJar {
	if l.state.jar == nil {
		l.state.jar = noise.NewCookieJar(l.peer)
	}
	return l.state.jar
}

// response finishes a handshake of ours. Where the response came from does not
// matter: the peer has received where we sent the initiation.
func (s *shaker) response(h packet.HandshakeHeader, msg []byte, now int64) error {
	k := s.e.pending(h.Receiver)
	if k == nil {
		return errOver
	}
	l := k.link
	l.mu.Lock()
	ours := l.state.ours
	l.mu.Unlock()
	if ours == nil || ours.index != h.Receiver {
		return errOver
	}
	keys, o, err := ours.finish(msg)
	if err != nil {
		return err
	}
	if err := l.finish(ours, newRxKey(l, keys, h.Receiver, h.Sender, o), now); err != nil {
		return err
	}
	l.sendProbe(now) // confirms the keys to the peer
	return nil
}

// finish puts the keys of our own handshake in use.
func (l *Link) finish(ours *initiator, k *rxKey, now int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.ours != ours { // aborted meanwhile, and its index is free
		return errOver
	}
	// From here on a recorded initiation of the peer works once at most.
	if !l.e.guard.Track(l.peer, 0) {
		return &dropError{DropPolicy, "too many links"}
	}
	l.state.ours = nil
	l.state.offer = k.offer
	k.confirmed = true
	l.keys.InstallInitiator(k.epoch, time.Duration(now))
	l.e.keys.Store(indexSlot(k.index), k)
	l.use(k.epoch, ours.to, nil, now)
	l.state.jar = nil // 0.5 KiB that an idle link does not need
	return nil
}

// cookie keeps a cookie and tries again with it: at once if it is the first in a
// while, since somebody on the path could send us cookies without end.
func (s *shaker) cookie(h packet.HandshakeHeader, msg []byte, now int64) error {
	k := s.e.pending(h.Receiver)
	if k == nil {
		return errOver
	}
	l := k.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.ours == nil || l.state.ours.index != h.Receiver {
		return errOver
	}
	if err := l.jar().ConsumeReply(msg[packet.CookieHeaderLen:], time.Duration(now)); err != nil {
		return err
	}
	if l.state.cookied == 0 || now-l.state.cookied >= cookieActEvery {
		l.state.cookied, l.state.next = now, now
		s.kick()
	}
	return nil
}

const cookieActEvery = second

// hint hears that a peer has lost our keys. It is not authentic: at most it starts
// a handshake with a peer that we send to already. A neighbour that opened the link
// comes back by itself; where it has removed the link instead, and its hint overtakes
// its goodbye, a handshake of ours would bring the link back.
func (s *shaker) hint(index uint32, from netip.AddrPort, now int64) {
	for _, l := range s.e.Links() {
		st := l.send.Load()
		if l.typ != SUDPH || !l.outbound.Load() || l.closing.Load() || st == nil || st.epoch.Remote != index || st.addr != from {
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
