package ice

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/skyminer/skywire/controlplane/stunclient"
)

const (
	headerLen   = 20
	magicCookie = 0x2112A442 // RFC 8489 section 5
	attrUser    = 0x0006     // USERNAME
	classMask   = 0x0110
	classAsk    = 0x0000 // request
	classTell   = 0x0010 // indication
	// maxDatagram is the largest STUN message that anybody has reason to send here.
	maxDatagram = 1280
	// maxAgents bounds the agents of a Hub.
	maxAgents = 64
)

// Errors that callers branch on.
var (
	ErrClosed = errors.New("ice: closed")
	ErrBusy   = errors.New("ice: too many attempts at once")
)

// A Socket sends STUN datagrams; *link.Engine is one. b is borrowed until it returns.
type Socket interface {
	WriteSTUN(b []byte, to netip.AddrPort) error
}

// A connKey names the agent's end of a family: pion has one connection for each.
type connKey struct {
	ufrag string
	v6    bool
}

// A Hub distributes the STUN datagrams of one socket. Make it with NewHub.
type Hub struct {
	sock    Socket
	queries *stunclient.Client
	busy    atomic.Int32 // agents and queries: 0 makes Handle cheap

	mu     sync.Mutex
	conns  map[connKey]*conn
	agents int
}

// NewHub returns a Hub that sends by way of sock.
func NewHub(sock Socket) *Hub {
	return &Hub{sock: sock, queries: stunclient.New(sock.WriteSTUN), conns: map[connKey]*conn{}}
}

// Handle takes a datagram whose first byte is 0 to 3, borrowed until it returns. It does
// not block, and may run on a packet worker.
func (h *Hub) Handle(b []byte, from netip.AddrPort) {
	if h.busy.Load() == 0 || len(b) < headerLen || len(b) > maxDatagram ||
		binary.BigEndian.Uint32(b[4:]) != magicCookie || from.Addr().Zone() != "" {
		return
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	switch binary.BigEndian.Uint16(b) & classMask {
	case classAsk, classTell:
		if ufrag, ok := localUfrag(b); ok {
			h.mu.Lock()
			c := h.conns[connKey{ufrag, from.Addr().Is6()}]
			h.mu.Unlock()
			if c != nil {
				c.put(b, from)
			}
		}
	default:
		h.answer(b, from)
	}
}

// answer distributes a response. That of a query is known by its transaction; the others
// go to every agent that has sent there, and whose it is not drops it.
func (h *Hub) answer(b []byte, from netip.AddrPort) {
	if h.queries.Handle(b, from) {
		return
	}
	h.mu.Lock()
	var to []*conn
	for k, c := range h.conns {
		if k.v6 == from.Addr().Is6() && c.sentTo(from) {
			to = append(to, c)
		}
	}
	h.mu.Unlock()
	for _, c := range to {
		c.put(b, from)
	}
}

// localUfrag returns the first half of a request's user name, which names the agent that
// is asked (RFC 8445 section 7.2.2).
func localUfrag(b []byte) (string, bool) {
	for rest := b[headerLen:]; len(rest) >= 4; {
		typ, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		rest = rest[4:]
		if n > len(rest) {
			return "", false
		}
		if typ == attrUser {
			for i, c := range rest[:n] {
				if c == ':' {
					return string(rest[:i]), true
				}
			}
			return "", false
		}
		rest = rest[min((n+3)&^3, len(rest)):]
	}
	return "", false
}

// enter makes room for an agent.
func (h *Hub) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.agents == maxAgents {
		return ErrBusy
	}
	h.agents++
	h.busy.Add(1)
	return nil
}

// leave is the end of an agent.
func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agents--
	h.busy.Add(-1)
}
