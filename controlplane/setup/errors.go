package setup

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// ErrNoNode says that there is no setup node to ask.
var ErrNoNode = errors.New("setup: no setup node to ask: name one under route_setup_nodes of a deployment")

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
	CodeUnreachable Code = "unreachable" // a visor, or the setup node, does not answer, or not in time
	CodeInternal    Code = "internal"    // a fault of the one who answers
)

// status returns the HTTP status that goes with c.
func (c Code) status() int {
	switch c {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeForbidden, CodeSignature, CodeTransit:
		return http.StatusForbidden
	case CodeClock, CodeReplay:
		return http.StatusUnauthorized
	case CodeQuota:
		return http.StatusTooManyRequests
	case CodeNoLink:
		return http.StatusConflict
	case CodeUnreachable:
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// An Error says why a route could not be made, and where.
type Error struct {
	Code Code
	Text string
	Node cipher.PubKey // the setup node that was asked; zero: none, this visor knew
	At   cipher.PubKey // the visor where it failed; zero: at Node, or on the way to it
	// Neighbour is whom At has no link to, with CodeNoLink.
	Neighbour cipher.PubKey
	// Time is the clock of At, or else of Node, with CodeClock.
	Time time.Time
}

// Error says it in one line.
func (e *Error) Error() string {
	switch {
	case !e.At.IsZero():
		return fmt.Sprintf("setup: visor %s: %s", e.At, e.Text)
	case !e.Node.IsZero():
		return fmt.Sprintf("setup: setup node %s: %s", e.Node, e.Text)
	}
	return "setup: " + e.Text
}

// Is compares codes with a target that is an *Error.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// OfPath reports whether another setup node would fail at the same path.
func (e *Error) OfPath() bool {
	switch e.Code {
	case CodeNoLink, CodeTransit, CodeUnreachable, CodeClock, CodeQuota:
		return !e.At.IsZero() || e.Node.IsZero()
	}
	return false
}

// refuse makes an Error; who it comes from is filled in on the way.
func refuse(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// wireError is an Error in an answer.
type wireError struct {
	Text      string         `json:"error"`
	Code      Code           `json:"code"`
	At        *cipher.PubKey `json:"at,omitempty"`
	Neighbour *cipher.PubKey `json:"neighbour,omitempty"`
	Time      int64          `json:"server_time,omitempty"` // Unix, in milliseconds
}

func (e *Error) wire() wireError {
	w := wireError{Text: e.Text, Code: e.Code}
	if !e.At.IsZero() {
		w.At = &e.At
	}
	if !e.Neighbour.IsZero() {
		w.Neighbour = &e.Neighbour
	}
	if !e.Time.IsZero() {
		w.Time = e.Time.UnixMilli()
	}
	return w
}

// maxText bounds what of another's text is passed on.
const maxText = 512

func (w wireError) error() *Error {
	e := &Error{Code: w.Code, Text: w.Text}
	if len(e.Text) > maxText {
		e.Text = e.Text[:maxText]
	}
	if w.At != nil {
		e.At = *w.At
	}
	if w.Neighbour != nil {
		e.Neighbour = *w.Neighbour
	}
	if w.Time != 0 {
		e.Time = time.UnixMilli(w.Time)
	}
	return e
}
