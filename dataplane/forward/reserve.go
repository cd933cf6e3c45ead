package forward

import (
	"fmt"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// maxReserved bounds the labels that wait for a rule: route set-up needs each for well
// below a second.
const maxReserved = 4096

// A reservation is a label that has been promised to a neighbour.
type reservation struct {
	in      Neighbour
	ttl     time.Duration
	expires time.Duration // 0 before the first sweep
}

// Reserve gives out a label for packets from in before there is a rule: set-up needs
// the labels of all hops to make the rules. AddRule and AddDeliver take it by its
// InLabel or Label, with the same neighbour; nothing is accepted under it before. ttl
// after that, or a second later, it is given back.
//
// Errors: ErrNoLabel, ErrTooManyReserved, and those of keys.
func (e *Engine) Reserve(in Neighbour, ttl time.Duration) (packet.Label, error) {
	if err := e.checkNeighbour(in); err != nil {
		return 0, err
	}
	if ttl <= 0 {
		return 0, fmt.Errorf("forward: a label cannot be reserved for %v", ttl)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.reserved) >= maxReserved {
		return 0, ErrTooManyReserved
	}
	label, ok := e.labels.take()
	if !ok {
		return 0, ErrNoLabel
	}
	e.reserved[label] = &reservation{in: in, ttl: ttl}
	return label, nil
}

// Release gives a label of Reserve back. It does nothing once a rule has the label:
// that is for RemoveRule.
func (e *Engine) Release(label packet.Label) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.releaseLocked(label)
}

func (e *Engine) releaseLocked(label packet.Label) {
	if e.reserved[label] != nil {
		delete(e.reserved, label)
		e.labels.give(label)
	}
}

// redeem hands a reserved label over to a rule for packets from in. mu is held.
func (e *Engine) redeem(label packet.Label, in Neighbour) error {
	r := e.reserved[label]
	switch {
	case r == nil:
		return fmt.Errorf("%w: %d is not reserved either", ErrBadLabel, label)
	case r.in.Peer != in.Peer || r.in.Type != 0 && r.in.Type != in.Type:
		return fmt.Errorf("%w: %d is reserved for %s, not for %s", ErrLabelTaken, label, r.in, in)
	}
	delete(e.reserved, label)
	return nil
}

// sweepReserved gives back what nobody has taken in time. mu is held.
func (e *Engine) sweepReserved(now time.Duration) {
	for label, r := range e.reserved {
		if r.expires == 0 {
			r.expires = now + r.ttl
		} else if now > r.expires {
			e.releaseLocked(label)
		}
	}
}
