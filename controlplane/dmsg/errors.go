package dmsg

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Errors of this package besides those of package proto, of which callers look for
// proto.ErrNoListener, proto.ErrNoEntry, proto.ErrUnreachable and
// proto.ErrSessionClosed.
var (
	// ErrClosed says that the client or listener was closed on this side.
	ErrClosed error = closedError{}
	// ErrPortsExhausted says that all source ports are taken by open streams.
	ErrPortsExhausted = errors.New("dmsg: all ports for dialled streams are in use")
	// ErrTurnedAway says that a relay ended a stream before it was set up. Relays give
	// no reason: the peer may have left, or its software closes instead of saying that
	// nobody listens.
	ErrTurnedAway = errors.New("dmsg: the relay closed the stream: the peer is not connected there, or nobody listens on that port")
	// ErrNoAnswer says that the peer did not answer in time.
	ErrNoAnswer = errors.New("dmsg: no answer in time")
	// ErrRunning says that Run was called twice.
	ErrRunning = errors.New("dmsg: client runs already")
)

// errLate says that the discovery has not said yet where a peer is.
var errLate = errors.New("dmsg: the discovery takes its time")

// closedError is proto.ErrClosed and net.ErrClosed at once, in the words of one.
type closedError struct{}

func (closedError) Error() string   { return "dmsg: closed" }
func (closedError) Unwrap() []error { return []error{proto.ErrClosed, net.ErrClosed} }

// A DialError says why a stream could not be dialled.
type DialError struct {
	Addr proto.Addr
	// Err is the reason: the peer's refusal, or proto.ErrUnreachable where no relay
	// brought the dial to an end.
	Err error
	// Tried are the relays that were asked, in the order in which they failed.
	Tried []RelayError
}

// A RelayError is what came of asking one relay.
type RelayError struct {
	Server cipher.PubKey
	Err    error
}

// Error says the reason, and for each relay that was tried what it made of it.
func (e *DialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dmsg: dial %s: %s", e.Addr, bare(e.Err))
	for i, t := range e.Tried {
		if t.Err == e.Err { //nolint:errorlint // is this very value printed already?
			continue
		}
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%sby way of relay %s: %s", sep, t.Server, bare(t.Err))
	}
	return b.String()
}

// Unwrap returns the reason and those of the relays.
func (e *DialError) Unwrap() []error {
	all := []error{e.Err}
	for _, t := range e.Tried {
		all = append(all, t.Err)
	}
	return all
}

// Timeout reports whether nobody answered in time, as net.Error has it.
func (e *DialError) Timeout() bool { return errors.Is(e, ErrNoAnswer) }

// Temporary reports whether the same dial may succeed in a while.
func (e *DialError) Temporary() bool {
	var c proto.Code
	return e.Timeout() || errors.As(e.Err, &c) && c.Temporary()
}

// bare is the text of err without the prefix of this package, to stand inside a text
// that has it.
func bare(err error) string { return strings.ReplaceAll(err.Error(), "dmsg: ", "") }
