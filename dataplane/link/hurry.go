package link

import (
	"fmt"
	"net/netip"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Hurry says that somebody waits for a link of this type to peer, or of any if typ is
// 0. One that is down and that we keep tries again at once, and each second for a
// while, as when it was new; one that does so already is left alone, so Hurry may be
// called at any rate.
func (e *Engine) Hurry(peer cipher.PubKey, typ Type) {
	now := e.Now()
	due := false
	for _, t := range [...]Type{STCPR, SUDPH, DMSG} {
		if typ != 0 && typ != t {
			continue
		}
		e.mu.Lock()
		l := e.links[linkKey{peer, t}]
		e.mu.Unlock()
		if l != nil && l.hurry(now) {
			due = true
		}
	}
	if due {
		e.shake.kick()
	}
}

// hurry reports whether it did anything.
func (l *Link) hurry(now int64) bool {
	if l.Up() || !l.outbound.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.gone || now-l.state.began <= patience {
		return false
	}
	l.startOver(now)
	return true
}

// Retarget says that the neighbour of a link that we keep is now to be found at addr.
// A link that is down tries there at once, one that is up the next time that it dies.
//
// Errors: ErrNotFound, and those of [Engine.AddLink] for an address.
func (e *Engine) Retarget(peer cipher.PubKey, typ Type, addr netip.AddrPort) error {
	addr, err := e.checkTarget(peer, typ, addr)
	if err != nil {
		return err
	}
	e.mu.Lock()
	l := e.links[linkKey{peer, typ}]
	e.mu.Unlock()
	if l == nil || !l.outbound.Load() {
		return fmt.Errorf("%w: %s to %s", ErrNotFound, typ, peer)
	}
	l.mu.Lock()
	if l.state.target != addr {
		l.state.target = addr
		if !l.Up() {
			l.state.addr = addr
			l.startOver(e.Now())
		}
	}
	l.mu.Unlock()
	e.shake.kick()
	return nil
}
