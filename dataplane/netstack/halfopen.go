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
	alive func(pk cipher.PubKey, id attemptID) bool

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
	attemptID
	since time.Time
}

// An attemptID tells the attempts of one key apart.
type attemptID struct {
	ports uint32 // source and destination, as in the TCP header
	class uint32 // of the routes that it comes by
}

// begin reports whether a stream from pk may begin.
func (h *halfOpen) begin(pk cipher.PubKey, id attemptID, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep(now)
	of := h.byKey[pk]
	if of == nil {
		of = &attempts{}
		h.byKey[pk] = of
	}
	if slices.ContainsFunc(of.all, func(a attempt) bool { return a.attemptID == id }) {
		return true // twice in one burst
	}
	if len(of.all) >= maxHalfOpen && now.Sub(of.checked) >= halfOpenCheck {
		of.checked = now
		of.all = slices.DeleteFunc(of.all, func(a attempt) bool {
			return now.Sub(a.since) >= halfOpenCheck && !h.alive(pk, a.attemptID)
		})
	}
	if len(of.all) >= maxHalfOpen {
		return false
	}
	of.all = append(of.all, attempt{id, now})
	return true
}

// end hears that a stream has been accepted.
func (h *halfOpen) end(pk cipher.PubKey, id attemptID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.byKey[pk]
	if of == nil {
		return
	}
	of.all = slices.DeleteFunc(of.all, func(a attempt) bool { return a.attemptID == id })
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

// pendingFrom reports whether there is such a stream of pk's, accepted or on its way
// there.
func (s *Stack) pendingFrom(pk cipher.PubKey, id attemptID) bool {
	ep := s.stack.FindTransportEndpoint(header.IPv6ProtocolNumber, header.TCPProtocolNumber, stack.TransportEndpointID{
		LocalPort: uint16(id.ports), LocalAddress: tcpip.AddrFrom16(s.own),
		RemotePort: uint16(id.ports >> 16), RemoteAddress: tcpip.AddrFrom16(pk.ClassAddr(id.class).As16()),
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

// withoutSYNs returns a burst of TCP segments without the SYNs that their source may
// not send now, and how many these were. Those for ports that nobody listens on stay: they are
// answered with a reset and cost nothing afterwards. So do those of a stream that is
// there, which come again when the answer was lost.
func (s *Stack) withoutSYNs(from Addr, payloads [][]byte) (rest [][]byte, refused int) {
	rest = payloads
	for i, p := range payloads {
		if len(p) < tcpMinLen || p[tcpOffsetFlags]&(flagSYN|flagACK) != flagSYN {
			if refused > 0 {
				rest = append(rest, p)
			}
			continue
		}
		id := attemptID{binary.BigEndian.Uint32(p), from.Class}
		switch ok := !s.listens(uint16(id.ports)) || s.pendingFrom(from.PK, id) || s.begun.begin(from.PK, id, time.Now()); {
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
