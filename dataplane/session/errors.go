package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
)

// Errors that callers branch on.
var (
	// ErrNoRoute says that there is no way to a peer, or none that works now.
	ErrNoRoute = errors.New("session: no route")
	// ErrRouteDown says that there are routes, but their links are down or nothing
	// comes back on them.
	ErrRouteDown = errors.New("session: route is down")
	// ErrHandshakeTimeout says that the peer did not answer session handshakes.
	ErrHandshakeTimeout = errors.New("session: handshake timed out")

	ErrSelf         = errors.New("session: a route cannot lead to this visor itself")
	ErrNoSuchRoute  = errors.New("session: no such route")
	ErrHeader       = errors.New("session: malformed header to send")
	ErrTooBig       = errors.New("session: payload too large")
	ErrPeerSilent   = errors.New("session: the peer has fallen silent on every route")
	errRouteRemoved = errors.New("session: its last route was removed")
)

// A PathError says why a peer cannot be reached. Err is ErrNoRoute, ErrRouteDown
// or ErrHandshakeTimeout; Detail says which link, or how long.
type PathError struct {
	Peer   cipher.PubKey
	Class  uint32 // of the routes that were asked for
	Err    error
	Detail string
}

// Error names the peer in full: people look for it.
func (e *PathError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%v to %s", e.Err, e.Peer)
	}
	return fmt.Sprintf("%v to %s: %s", e.Err, e.Peer, e.Detail)
}

// Unwrap returns Err.
func (e *PathError) Unwrap() error { return e.Err }

// diagnose says why nothing can be sent to s.
func (s *Session) diagnose(now time.Duration) *PathError {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &PathError{Peer: s.peer, Class: s.class, Err: ErrNoRoute}
	for _, r := range s.routes {
		switch {
		case r.gone:
		case r.link() == nil:
			if !errors.Is(e.Err, ErrHandshakeTimeout) {
				e.Err, e.Detail = ErrRouteDown, fmt.Sprintf("no link to its first hop %s", r.firstHop())
			}
		case !r.ready():
			e.Err = ErrHandshakeTimeout
			e.Detail = fmt.Sprintf("no answer through %s%s", r.firstHop(), r.hearsay())
		case r.health.state == StateDead:
			e.Err = ErrRouteDown
			e.Detail = fmt.Sprintf("nothing has come back through %s for %s%s", r.firstHop(), (now - s.heard).Round(time.Second), r.hearsay())
			return e
		}
	}
	return e
}

// Trouble says in words what is known about why pk does not answer: "" if at least one
// of its ordinary routes seems to work.
func (m *Manager) Trouble(pk cipher.PubKey) string { return m.TroubleClass(pk, 0) }

// TroubleClass is Trouble for the routes of one class.
func (m *Manager) TroubleClass(pk cipher.PubKey, class uint32) string {
	s, ok := m.SessionClass(pk, class)
	if !ok {
		return "there is no route"
	}
	now := ns(m.links.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	said := ""
	for _, r := range s.routes {
		text := r.trouble(now)
		switch {
		case r.gone:
		case text == "":
			return ""
		case said == "":
			said = text
		default:
			said += ", and " + text
		}
	}
	return said
}

// trouble is Trouble for one route. Session.mu is held.
func (r *route) trouble(now time.Duration) string {
	h := &r.health
	switch {
	case r.link() == nil:
		return fmt.Sprintf("there is no link to the first hop %s", r.firstHop())
	case !r.ready():
		return fmt.Sprintf("no reply to session handshakes through %s%s", r.firstHop(), r.hearsay())
	case h.unanswered > 0 && (h.state != StateUp || r.errCode.Load() != 0):
		return fmt.Sprintf("no reply to %s for %s through %s%s",
			probes(h.unanswered), since(now, h.probeSince).Round(100*time.Millisecond), r.firstHop(), r.hearsay())
	case r.errCode.Load() != 0:
		return fmt.Sprintf("packets are lost behind %s%s", r.firstHop(), r.hearsay())
	}
	return ""
}

func probes(n int) string {
	if n == 1 {
		return "a probe"
	}
	return fmt.Sprintf("%d probes", n)
}

// hearsay returns what a hop on the way said last, for the end of an error text.
func (r *route) hearsay() string {
	if code := uint8(r.errCode.Load()); code != 0 {
		return "; a hop on the way says: " + forward.CodeText(code)
	}
	return ""
}
