package link

import (
	"errors"
	"net/netip"
	"time"
)

// WriteSTUN sends the datagram b, which is borrowed and whose first byte is 0 to 3, to
// to from the UDP socket of SUDPH links: STUN messages share it (RFC 7983 section 7),
// so that what a STUN server sees is the mapping that a link uses.
func (e *Engine) WriteSTUN(b []byte, to netip.AddrPort) error { return errors.New("not yet") }

// Check probes every link that is up now. One that brings nothing within the given
// time goes down with ErrLost, and if it is ours, connects again at once.
func (e *Engine) Check(within time.Duration) {}
