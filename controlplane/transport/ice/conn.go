package ice

import (
	"net"
	"net/netip"
	"sync"
	"time"

	pion "github.com/pion/ice/v2"
)

const (
	// queueLen bounds the datagrams that wait for an agent. Each peer sends one per pair
	// and interval.
	queueLen = 64
	// maxSentTo bounds the addresses that an agent is remembered to have sent to: those of
	// the offer, and some from which the peer came instead.
	maxSentTo = 4 * MaxCandidates
)

// A datagram is owned by the queue that it is in.
type datagram struct {
	b    []byte
	from netip.AddrPort
}

// A conn is one agent's share of the socket, for one address family.
type conn struct {
	hub   *Hub
	key   connKey
	queue chan datagram
	done  chan struct{}
	close sync.Once

	mu   sync.Mutex
	sent map[netip.AddrPort]struct{}
}

var (
	_ net.PacketConn = (*conn)(nil)
	_ pion.UDPMux    = (*mux)(nil)
)

// put queues a copy of b; one that finds no room is lost.
func (c *conn) put(b []byte, from netip.AddrPort) {
	if len(c.queue) == cap(c.queue) {
		return // saves the copy
	}
	select {
	case c.queue <- datagram{append([]byte(nil), b...), from}:
	default:
	}
}

// sentTo reports whether c has sent to addr.
func (c *conn) sentTo(addr netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.sent[addr]
	return ok
}

// ReadFrom implements net.PacketConn.
func (c *conn) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case d := <-c.queue:
		return copy(p, d.b), net.UDPAddrFromAddrPort(d.from), nil
	case <-c.done:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn.
func (c *conn) WriteTo(p []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("ice: not a UDP address")
	}
	addr := netip.AddrPortFrom(ua.AddrPort().Addr().Unmap(), ua.AddrPort().Port())
	c.mu.Lock()
	if _, known := c.sent[addr]; !known && len(c.sent) < maxSentTo {
		c.sent[addr] = struct{}{}
	}
	c.mu.Unlock()
	if err := c.hub.sock.WriteSTUN(p, addr); err != nil {
		return 0, err
	}
	return len(p), nil
}

// LocalAddr implements net.PacketConn; nobody is told.
func (c *conn) LocalAddr() net.Addr { return anyAddr(c.key.v6) }

// Close implements net.PacketConn.
func (c *conn) Close() error {
	c.close.Do(func() {
		c.hub.mu.Lock()
		delete(c.hub.conns, c.key)
		c.hub.mu.Unlock()
		close(c.done)
	})
	return nil
}

// SetDeadline and the two below are for net.PacketConn: pion sets one only where it
// closes the connection next.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// A mux is what pion gets in place of a socket: one local candidate per family, which
// stands for all of ours.
type mux struct {
	hub    *Hub
	v4, v6 bool
}

// GetConn implements pion's UDPMux.
func (m *mux) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	ua, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, net.InvalidAddrError("ice: not a UDP address")
	}
	k := connKey{ufrag, ua.IP.To4() == nil}
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	if c := m.hub.conns[k]; c != nil {
		return c, nil
	}
	c := &conn{hub: m.hub, key: k, queue: make(chan datagram, queueLen), done: make(chan struct{}), sent: map[netip.AddrPort]struct{}{}}
	m.hub.conns[k] = c
	return c, nil
}

// RemoveConnByUfrag implements pion's UDPMux.
func (m *mux) RemoveConnByUfrag(ufrag string) {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	delete(m.hub.conns, connKey{ufrag, false})
	delete(m.hub.conns, connKey{ufrag, true})
}

// GetListenAddresses implements pion's UDPMux.
func (m *mux) GetListenAddresses() (all []net.Addr) {
	if m.v4 {
		all = append(all, anyAddr(false))
	}
	if m.v6 {
		all = append(all, anyAddr(true))
	}
	return all
}

// Close implements pion's UDPMux; the socket is not ours to close.
func (m *mux) Close() error { return nil }

// anyAddr is the local candidate's address. The port is not 0 because pion would take
// that for a candidate that cannot be.
func anyAddr(v6 bool) *net.UDPAddr {
	if v6 {
		return &net.UDPAddr{IP: net.IPv6unspecified, Port: 1}
	}
	return &net.UDPAddr{IP: net.IPv4zero.To4(), Port: 1}
}
