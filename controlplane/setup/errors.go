package setup

import (
	"errors"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// ErrNoNode says that there is no setup node to ask.
var ErrNoNode = errors.New("setup: no setup node to ask: none is configured, or all have failed just now")

// A Code says in one word why something was refused.
type Code string

// The codes.
const (
	CodeBadRequest  Code = "bad_request" // does not parse, or contradicts itself
	CodeForbidden   Code = "forbidden"   // a caller who may not: wrong key, or a setup node that is not trusted
	CodeSignature   Code = "signature"   // a signature that does not hold
	CodeClock       Code = "clock"       // two clocks differ too much
	CodeReplay      Code = "replay"      // the same request came before
	CodeQuota       Code = "quota"       // over a limit; try again later
	CodeTransit     Code = "transit"     // the visor carries nothing for others, or nothing more
	CodeNoLink      Code = "no_link"     // no link that is up to the neighbour
	CodeUnreachable Code = "unreachable" // a visor does not answer, or not in time
	CodeInternal    Code = "internal"    // a fault of the one who answers
)

// An Error says why a route could not be made, and where.
type Error struct {
	Code Code
	Text string
	Node cipher.PubKey // the setup node that said so; zero: this visor itself
	At   cipher.PubKey // the visor where it failed; zero: the setup node
	// Neighbour is whom At has no link to, with CodeNoLink.
	Neighbour cipher.PubKey
	// Time is the clock of At or of the setup node, with CodeClock.
	Time time.Time
}

// Error says it in one line.
func (e *Error) Error() string { return "setup: " + e.Text }

// Is compares codes with a target that is an *Error.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
