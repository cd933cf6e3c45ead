package forward

import (
	"errors"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// Reserve gives out a label for packets from in, without a rule as yet: AddRule or
// AddDeliver takes it by InLabel. It is given back after ttl.
func (e *Engine) Reserve(in Neighbour, ttl time.Duration) (packet.Label, error) {
	return 0, errors.New("not yet")
}

// Release gives a label of Reserve back that no rule has taken.
func (e *Engine) Release(label packet.Label) {}
