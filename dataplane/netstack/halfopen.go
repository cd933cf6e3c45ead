package netstack

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// maxHalfOpen is how many streams of one key may be on their way to Accept. A
	// listener's backlog holds those of four such keys before gVisor falls back to
	// SYN cookies, whose streams have no window scaling and are slow for ever.
	maxHalfOpen = backlog / 4

	// halfOpenLife is longer than gVisor keeps answering a SYN, which is 127 s.
	halfOpenLife = 130 * time.Second
	// halfOpenCheck is how long an attempt counts without a look at what has become
	// of it, and how far such looks are apart.
	halfOpenCheck = time.Second

	flagSYN = uint8(header.TCPFlagSyn)
)

// halfOpen counts, for each key, the streams that it has begun and that Accept has not
// returned. It is asked for SYNs only. Safe for concurrent use.
type halfOpen struct {
	// alive reports whether gVisor still has an endpoint for the attempt.
	alive func(pk cipher.PubKey, ports uint32) bool

	mu    sync.Mutex
	byKey map[cipher.PubKey]*attempts
	swept time.Time
}

// attempts are those of one key.
type attempts struct {
	all     []attempt // oldest first
	checked time.Time
}

// An attempt is a stream that somebody begins.
type attempt struct {
	ports uint32 // source and destination port, as in the TCP header
	since time.Time
}

// begin reports whether a stream from pk may begin.
func (h *halfOpen) begin(pk cipher.PubKey, ports uint32, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep(now)
	of := h.byKey[pk]
	if of == nil {
		of = &attempts{}
		h.byKey[pk] = of
	}
	if slices.ContainsFunc(of.all, func(a attempt) bool { return a.ports == ports }) {
		return true // twice in one burst
	}
	if len(of.all) >= maxHalfOpen && now.Sub(of.checked) >= halfOpenCheck {
		of.checked = now
		of.all = slices.DeleteFunc(of.all, func(a attempt) bool {
			return now.Sub(a.since) >= halfOpenCheck && !h.alive(pk, a.ports)
		})
	}
	if len(of.all) >= maxHalfOpen {
		return false
	}
	of.all = append(of.all, attempt{ports, now})
	return true
}

// end hears that a stream has been accepted.
func (h *halfOpen) end(pk cipher.PubKey, ports uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.byKey[pk]
	if of == nil {
		return
	}
	of.all = slices.DeleteFunc(of.all, func(a attempt) bool { return a.ports == ports })
	if len(of.all) == 0 {
		delete(h.byKey, pk)
	}
}

// sweep forgets keys that have become quiet. mu is held.
func (h *halfOpen) sweep(now time.Time) {
	if now.Sub(h.swept) < halfOpenLife {
		return
	}
	h.swept = now
	for pk, of := range h.byKey {
		if n := len(of.all); n == 0 || now.Sub(of.all[n-1].since) > halfOpenLife {
			delete(h.byKey, pk)
		}
	}
}

// pendingFrom reports whether there is a stream of pk's with these ports, accepted or
// on its way there.
func (s *Stack) pendingFrom(pk cipher.PubKey, ports uint32) bool {
	ep := s.stack.FindTransportEndpoint(header.IPv6ProtocolNumber, header.TCPProtocolNumber, stack.TransportEndpointID{
		LocalPort: uint16(ports), LocalAddress: tcpip.AddrFrom16(s.own),
		RemotePort: uint16(ports >> 16), RemoteAddress: tcpip.AddrFrom16(pk.OverlayAddr().As16()),
	}, nicID)
	e, ok := ep.(tcpip.Endpoint)
	if !ok {
		return false
	}
	switch tcp.EndpointState(e.State()) {
	case tcp.StateListen, // what matches when the stream is gone
		tcp.StateClose, tcp.StateError, tcp.StateTimeWait: // makes room for a new one
		return false
	}
	return true
}

// withoutSYNs returns a burst of TCP segments without the SYNs that pk may not send
// now, and how many these were. Those for ports that nobody listens on stay: they are
// answered with a reset and cost nothing afterwards. So do those of a stream that is
// there, which come again when the answer was lost.
func (s *Stack) withoutSYNs(pk cipher.PubKey, payloads [][]byte) (rest [][]byte, refused int) {
	rest = payloads
	for i, p := range payloads {
		if len(p) < tcpMinLen || p[tcpOffsetFlags]&(flagSYN|flagACK) != flagSYN {
			if refused > 0 {
				rest = append(rest, p)
			}
			continue
		}
		ports := binary.BigEndian.Uint32(p)
		switch ok := !s.listens(uint16(ports)) || s.pendingFrom(pk, ports) || s.begun.begin(pk, ports, time.Now()); {
		case !ok && refused == 0:
			rest = slices.Clone(payloads[:i]) // payloads itself is borrowed
			refused++
		case !ok:
			refused++
		case refused > 0:
			rest = append(rest, p)
		}
	}
	return rest, refused
}
