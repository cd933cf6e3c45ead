package link

import "github.com/skyminer/skywire/dataplane/cipher"

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
