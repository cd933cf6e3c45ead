package link

import (
	"fmt"
	"time"
)

// A check is a question that has to be answered soon; guarded by Link.mu.
type check struct {
	token uint64 // of its first probe: the reply to that or a later one will do
	until int64  // when the link is given up, on the engine's clock; 0: nothing is asked
	every int64  // how often the probe is repeated
}

// checkProbes is how many probes one check sends: a lost one does not condemn a link.
const checkProbes = 4

// errUnechoed is what a link goes down with that does not pass a check.
var errUnechoed = fmt.Errorf("%w: no answer to probes after a change of network", ErrLost)

// Check is for when the network under us may have changed, by another address or after
// a sleep. It probes each link that is up, several times; from the probe a neighbour
// learns our new address. A link that answers none within the given time goes down
// with [ErrLost]; it connects again at once if it is ours, as do those that are down
// already. Check itself does not wait.
func (e *Engine) Check(within time.Duration) {
	now := e.Now()
	for _, l := range e.Links() {
		l.hurry(now)
		l.ask(now, int64(within))
	}
	e.shake.kick()
}

// ask begins a check of l. One under way goes on: it ends sooner.
func (l *Link) ask(now, within int64) {
	l.mu.Lock()
	asked := l.state.check.until != 0 || !l.Up()
	if !asked {
		l.state.check = check{token: l.state.probe + 1, until: now + within, every: within / checkProbes}
	}
	l.mu.Unlock()
	if !asked {
		l.sendProbe(now)
	}
}

// due reports whether the check wants a probe, the last of which left at sent, and
// whether it has failed.
func (c *check) due(now, sent int64) (probe, failed bool) {
	if c.until == 0 {
		return false, false
	}
	return now-sent >= c.every, now >= c.until
}

// passed notes a reply.
func (c *check) passed(token uint64) {
	if c.until != 0 && token >= c.token {
		*c = check{}
	}
}
