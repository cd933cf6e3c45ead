package forward

import "sync/atomic"

// A DropReason says why a packet went no further.
type DropReason uint8

// Drop reasons.
const (
	DropNoLabel   DropReason = iota // no rule has this label, or its generation is over
	DropWrongLink                   // the rule names another neighbour
	DropNoSink                      // a direct label whose session floor is not there (yet)
	DropTooBig                      // larger than the next link's MTU
	DropLinkDown                    // the next link is not up
	DropLimit                       // over the transit limit
	DropRefused                     // the next link did not take it
	DropDirect                      // forwarded, it would pass for a packet of our own
	DropHint                        // a route error while too many waited
	numDropReasons
)

var dropNames = [numDropReasons]string{
	DropNoLabel:   "no_label",
	DropWrongLink: "wrong_link",
	DropNoSink:    "no_sink",
	DropTooBig:    "too_big",
	DropLinkDown:  "link_down",
	DropLimit:     "limit",
	DropRefused:   "refused",
	DropDirect:    "direct_label",
	DropHint:      "route_error",
}

// String returns the name that metrics and people see.
func (r DropReason) String() string {
	if int(r) < len(dropNames) {
		return dropNames[r]
	}
	return "unknown"
}

// drops counts dropped packets by reason, once per run.
type drops [numDropReasons]atomic.Uint64

func (d *drops) add(r DropReason, n int) { d[r].Add(uint64(n)) }

// Drops returns how many packets were dropped, by the reason's name; reasons that
// never happened are left out.
func (e *Engine) Drops() map[string]uint64 {
	m := make(map[string]uint64)
	for r := range e.drops {
		if n := e.drops[r].Load(); n > 0 {
			m[DropReason(r).String()] = n
		}
	}
	return m
}
