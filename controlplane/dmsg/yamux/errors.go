package yamux

import (
	"errors"
	"fmt"
)

// What callers branch on. The errors of a dead session wrap ErrSessionClosed and say
// the reason.
var (
	ErrSessionClosed = errors.New("yamux: session closed")
	ErrGoAway        = errors.New("yamux: the peer takes no new streams")
	ErrTooMany       = errors.New("yamux: too many streams in this session")
	ErrReset         = errors.New("yamux: stream reset by the peer")
	ErrWriteClosed   = errors.New("yamux: stream closed for writing")
	ErrOpenTimeout   = errors.New("yamux: stream not acknowledged in time")
	ErrKeepAlive     = errors.New("yamux: the peer does not answer")
	ErrProtocol      = errors.New("yamux: the peer broke the protocol")
	ErrPeek          = errors.New("yamux: cannot look at that many bytes in one piece")
)

var (
	errPeerProtocol = errors.New("yamux: the peer says that we broke the protocol")
	errPeerInternal = errors.New("yamux: the peer says that it failed")
	errNotReading   = fmt.Errorf("%w: it does not read what it provokes", ErrProtocol)
)

// violation returns an ErrProtocol that says what the peer did.
func violation(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}
