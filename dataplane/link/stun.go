package link

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/skyminer/skywire/dataplane/udpio"
)

// Errors of WriteSTUN.
var (
	errNoUDP   = errors.New("link: no UDP address to send STUN from is configured")
	errNotSTUN = errors.New("link: not a STUN message: its first byte is above 3")
)

// stunWriter sends what is not ours from the socket that is.
type stunWriter struct {
	mu  sync.Mutex
	out *udpio.Writer
	why error // why the last datagram did not leave
}

func (s *stunWriter) init(c *udpio.Conn) {
	s.out = c.NewWriter()
	s.out.OnDrop = func(to netip.AddrPort, _ int, reason udpio.DropReason) {
		s.why = fmt.Errorf("link: send STUN to %s: %s", to, reason)
	}
}

// WriteSTUN sends the datagram b, which is borrowed and whose first byte is 0 to 3, to
// an address, IPv4 also in IPv6's form. It leaves from the address and port of SUDPH
// links (RFC 7983 section 7): what a STUN server sees is the mapping that they use.
// Config.STUN takes the answers.
//
// Errors: no SUDPH here, no STUN message, an address that this machine cannot send to,
// net.ErrClosed.
func (e *Engine) WriteSTUN(b []byte, to netip.AddrPort) error {
	switch {
	case e.udp == nil:
		return errNoUDP
	case len(b) == 0 || b[0] > lastSTUNByte:
		return errNotSTUN
	}
	to, err := e.underlay(SUDPH, to)
	if err != nil {
		return err
	}
	s := &e.stun
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = nil
	s.out.Add(b, len(b), to)
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("link: send STUN: %w", err)
	}
	return s.why
}
