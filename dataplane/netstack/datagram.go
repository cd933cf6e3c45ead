package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// firstEphemeral is where free ports for datagram sockets are looked for.
	firstEphemeral = 49152
	// resolveTimeout bounds a WriteTo that has to set a session up first.
	resolveTimeout = 10 * time.Second
)

// ports maps datagram ports to sockets.
type ports struct {
	mu     sync.RWMutex
	socks  map[uint16]*PacketConn
	next   uint16
	closed bool
}

func (p *ports) init() {
	p.socks = make(map[uint16]*PacketConn)
	p.next = firstEphemeral
}

// bind gives c its port, a free one if it has none yet.
func (p *ports) bind(c *PacketConn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	if port := c.local.Port; port != 0 {
		if p.socks[port] != nil {
			return ErrPortInUse
		}
		p.socks[port] = c
		return nil
	}
	for range 1<<16 - firstEphemeral {
		port := p.next
		if p.next++; p.next < firstEphemeral {
			p.next = firstEphemeral
		}
		if p.socks[port] == nil {
			c.local.Port = port
			p.socks[port] = c
			return nil
		}
	}
	return ErrPortInUse
}

func (p *ports) unbind(c *PacketConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socks[c.local.Port] == c {
		delete(p.socks, c.local.Port)
	}
}

func (p *ports) closeAll() {
	p.mu.Lock()
	p.closed = true
	all := make([]*PacketConn, 0, len(p.socks))
	for _, c := range p.socks {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// deliverUDP gives the datagrams of a burst to their sockets.
func (s *Stack) deliverUDP(from cipher.PubKey, class uint32, payloads [][]byte) {
	s.udp.mu.RLock()
	defer s.udp.mu.RUnlock()
	for _, p := range payloads {
		if len(p) < udpHeaderLen || len(p) > udpHeaderLen+MaxDatagram {
			s.drops.add(DropMalformed, 1)
			continue
		}
		c := s.udp.socks[binary.BigEndian.Uint16(p[2:])]
		if c == nil {
			s.drops.add(DropNoPort, 1)
			continue
		}
		if reason, ok := c.take(Addr{PK: from, Port: binary.BigEndian.Uint16(p), Class: class}, p[udpHeaderLen:]); !ok {
			s.drops.add(reason, 1)
		}
	}
}

// A PacketConn is a datagram port of ours. Datagrams are up to [MaxDatagram] bytes
// and may be lost, doubled or reordered; what arrives while a megabyte waits to be
// read is dropped.
type PacketConn struct {
	stack  *Stack
	local  Addr
	remote Addr // zero unless connected

	rd   side
	q    datagrams
	done chan struct{}
	once sync.Once

	wr  side
	hdr [udpHeaderLen]byte // what SendPacket borrows; held under wr.mu
	own [1][]byte          // likewise, for datagrams to ourselves
	to  Addr               // the last destination, its port apart
	at  [16]byte           // and its overlay address
}

var (
	_ net.PacketConn = (*PacketConn)(nil)
	_ net.Conn       = (*PacketConn)(nil)
)

// ListenPacket opens a port for datagrams; 0 picks a free one. Addresses in
// ReadFrom and WriteTo are of type [Addr].
//
// Errors: [ErrPortInUse], net.ErrClosed.
func (s *Stack) ListenPacket(port uint16) (net.PacketConn, error) {
	return s.newPacketConn(port, Addr{})
}

// DialPacket opens a free port for datagrams to and from one other port only. It
// waits for a session, as [Stack.Dial] does, but nobody answers: the port there may
// be closed.
func (s *Stack) DialPacket(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error) {
	return s.DialPacketClass(ctx, pk, 0, port)
}

// DialPacketClass is DialPacket over the routes of one class; datagrams that come over
// others are not taken.
func (s *Stack) DialPacketClass(ctx context.Context, pk cipher.PubKey, class uint32, port uint16) (net.Conn, error) {
	remote, err := s.way(ctx, pk, class, port)
	if err != nil {
		return nil, err
	}
	return s.newPacketConn(0, remote)
}

func (s *Stack) newPacketConn(port uint16, remote Addr) (*PacketConn, error) {
	c := &PacketConn{stack: s, local: s.Addr(port), remote: remote, done: make(chan struct{})}
	c.rd.init()
	c.wr.init()
	if err := s.udp.bind(c); err != nil {
		return nil, fmt.Errorf("skynet: listen on datagram port %d: %w", port, err)
	}
	return c, nil
}

// take queues a datagram that has arrived; data is borrowed.
func (c *PacketConn) take(from Addr, data []byte) (DropReason, bool) {
	if c.remote != (Addr{}) && from != c.remote {
		return DropForeign, false
	}
	if !c.q.push(from, data) {
		return DropFull, false
	}
	c.rd.poke()
	return 0, true
}

// Read reads a datagram, dropping what does not fit b. io.ErrShortBuffer says so.
func (c *PacketConn) Read(b []byte) (int, error) {
	n, _, err := c.readFrom(b)
	return n, err
}

// ReadFrom implements net.PacketConn. What does not fit b is dropped, with
// io.ErrShortBuffer.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.readFrom(b)
	if err != nil && n == 0 {
		return 0, nil, err
	}
	return n, from, err
}

func (c *PacketConn) readFrom(b []byte) (int, Addr, error) {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	for {
		select {
		case <-c.done:
			return 0, Addr{}, c.opError("read", net.ErrClosed)
		default:
		}
		if err := c.rd.expired(); err != nil {
			return 0, Addr{}, c.opError("read", err)
		}
		if n, size, from, ok := c.q.pop(b); ok {
			if n < size {
				return n, from, c.opError("read", io.ErrShortBuffer)
			}
			return n, from, nil
		}
		<-c.rd.wake
	}
}

// Write sends a datagram to the port that c was dialled to.
func (c *PacketConn) Write(b []byte) (int, error) {
	if c.remote == (Addr{}) {
		return 0, c.opError("write", errors.New("skynet: socket has no destination"))
	}
	return c.writeTo(b, c.remote)
}

// WriteTo sends a datagram; addr is an [Addr], over the routes of whose class it goes.
// Without a session to its key one is set up first, within the write deadline or ten seconds.
func (c *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, ok := addr.(Addr)
	if !ok {
		return 0, c.opError("write", fmt.Errorf("skynet: address is a %T, want netstack.Addr", addr))
	}
	return c.writeTo(b, to)
}

func (c *PacketConn) writeTo(b []byte, to Addr) (int, error) {
	if len(b) > MaxDatagram {
		return 0, c.opError("write", ErrTooLong)
	}
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	select {
	case <-c.done:
		return 0, c.opError("write", net.ErrClosed)
	default:
	}
	if err := c.wr.expired(); err != nil {
		return 0, c.opError("write", err)
	}
	binary.BigEndian.PutUint16(c.hdr[0:], c.local.Port)
	binary.BigEndian.PutUint16(c.hdr[2:], to.Port)
	if to.PK == c.stack.cfg.PubKey {
		c.own[0] = append(append(c.own[0][:0], c.hdr[:]...), b...)
		c.stack.deliverUDP(to.PK, 0, c.own[:])
		return len(b), nil
	}
	peer, err := c.peer(to)
	if err == nil {
		err = peer.SendPacket(packet.ProtoUDP, c.hdr[:], b)
	}
	if err != nil {
		return 0, c.opError("write", err)
	}
	return len(b), nil
}

// peer finds the way to a visor, and makes it if there is none.
func (c *PacketConn) peer(to Addr) (Peer, error) {
	if c.to.PK != to.PK || c.to.Class != to.Class {
		c.to, c.at = to, to.overlay()
	}
	if p, ok := c.stack.cfg.Network.Lookup(c.at); ok {
		return p, nil
	}
	until := time.Now().Add(resolveTimeout)
	if d := c.wr.deadline.Load(); d != 0 && d < until.UnixNano() {
		until = time.Unix(0, d)
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	return c.stack.cfg.Network.DialClass(ctx, to.PK, to.Class)
}

// Close closes the port; calls that wait return net.ErrClosed.
func (c *PacketConn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.stack.udp.unbind(c)
		c.rd.stop()
		c.wr.stop()
		c.rd.poke()
		c.q.drop()
	})
	return nil
}

// LocalAddr returns our [Addr].
func (c *PacketConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the [Addr] that c was dialled to, the zero one if it was not.
func (c *PacketConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.PacketConn.
func (c *PacketConn) SetDeadline(t time.Time) error {
	c.rd.setDeadline(t)
	c.wr.setDeadline(t)
	return nil
}

// SetReadDeadline implements net.PacketConn.
func (c *PacketConn) SetReadDeadline(t time.Time) error { c.rd.setDeadline(t); return nil }

// SetWriteDeadline implements net.PacketConn.
func (c *PacketConn) SetWriteDeadline(t time.Time) error { c.wr.setDeadline(t); return nil }

func (c *PacketConn) opError(op string, err error) error {
	e := &net.OpError{Op: op, Net: Net, Source: c.local, Err: err}
	if c.remote != (Addr{}) {
		e.Addr = c.remote
	}
	return e
}
