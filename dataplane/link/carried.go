package link

import (
	"context"
	"net"
	"net/netip"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// AcceptStream takes an inbound byte stream for a DMSG link; whoever carries it has
// proved that its other end has key from. It returns at once and owns conn, which it
// closes where nothing comes of it. The engine has to be running.
//
// The carrier's word is checked, not relied upon: the link shakes hands inside the
// stream as over TCP, so that relays learn nothing and cannot speak for anybody, and
// a link whose key is not from is refused.
func (e *Engine) AcceptStream(conn net.Conn, from cipher.PubKey) {
	unproved, giveWay := context.WithCancel(e.ctx)
	leave, crowded := e.carried.enter(keyPlace(from).Addr(), giveWay)
	if crowded {
		e.count(DropCrowded)
	}
	stop := context.AfterFunc(unproved, func() { _ = conn.Close() })
	done := func() { stop(); giveWay(); leave() }
	refuse := func(err error) {
		e.countError(err)
		_ = conn.Close()
		done()
	}
	e.mu.Lock()
	open := !e.closed
	if open { // nobody may be added once they are waited for
		e.streams.Add(1)
	}
	e.mu.Unlock()
	if !open {
		refuse(errClosed)
		return
	}
	go func() {
		defer e.streams.Done()
		a := arrival{conn: conn, typ: DMSG, at: keyPlace(from), key: from}
		if err := e.acceptStream(unproved, a, e.carried.curves, done); err != nil {
			refuse(err)
		}
	}()
}

// keyPlace is the place of a key in limits that count by address: one that exists
// nowhere else (RFC 4193), so each key is a place of its own. Keys cost nothing, but
// dmsg's relays limit how many come from one address.
func keyPlace(pk cipher.PubKey) netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:], pk[1:8])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}
