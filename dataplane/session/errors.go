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
	e := &PathError{Peer: s.peer, Err: ErrNoRoute}
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

// hearsay returns what a hop on the way said last, for the end of an error text.
func (r *route) hearsay() string {
	if code := uint8(r.errCode.Load()); code != 0 {
		return "; a hop on the way says: " + forward.CodeText(code)
	}
	return ""
}
