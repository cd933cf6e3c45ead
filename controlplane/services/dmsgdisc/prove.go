package dmsgdisc

import (
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
)

// proveTimeout is how long a write waits for its signature to be checked.
const proveTimeout = 2 * time.Second

// prove checks a signature, which takes some 0.1 ms of a processor. Only half of
// the processors do that at a time, so that a flood of writes leaves the other half
// to look-ups.
func (s *Service) prove(verify func() error) error {
	select {
	case s.proofs <- struct{}{}:
	default:
		t := time.NewTimer(proveTimeout)
		defer t.Stop()
		select {
		case s.proofs <- struct{}{}:
		case <-t.C:
			return errBusy
		}
	}
	defer func() { <-s.proofs }()
	if verify() != nil {
		return disc.ErrUnauthorized
	}
	return nil
}
