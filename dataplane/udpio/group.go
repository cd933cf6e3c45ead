package udpio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rs/zerolog"
)

// A Group is one bound address with one socket per worker. All methods are safe
// for concurrent use.
type Group struct {
	conns []*Conn
	addr  netip.AddrPort
	close func() error
}

// Listen opens the sockets. Errors: a Config that does not validate, or what the
// system said to binding the address.
//
// Path-MTU discovery is on from the start, see [Conn.SetDF]. Where the kernel
// refuses an offload Listen goes on without it; [Group.Stats] tells.
func Listen(cfg Config) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	socks, err := openSockets(cfg)
	if err != nil {
		return nil, fmt.Errorf("udpio: listen on %v: %w", cfg.Addr, err)
	}
	g := &Group{close: sync.OnceValue(func() error { return closeAll(socks) })}
	for _, s := range socks {
		c, err := newConn(s, cfg)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("udpio: set up socket: %w", err), g.close())
		}
		g.conns = append(g.conns, c)
	}
	g.addr = unmap(socks[0].LocalAddr().(*net.UDPAddr).AddrPort())
	g.warnAboutBuffers(cfg)
	return g, nil
}

// Conn returns the socket of worker i, 0 <= i < Len.
func (g *Group) Conn(i int) *Conn { return g.conns[i] }

// Len returns the number of sockets: the configured Workers, or 1 where the
// system cannot share an address out between sockets. Use it, not the
// configuration, to choose receiver indices.
func (g *Group) Len() int { return len(g.conns) }

// LocalAddr returns the bound address with its real port.
func (g *Group) LocalAddr() netip.AddrPort { return g.addr }

// Close closes all sockets. Reads return net.ErrClosed, and so does every Flush
// from then on; one that waits for room ends within SendWait. Later calls
// return what the first one did.
func (g *Group) Close() error { return g.close() }

// Stats returns the sum over all sockets.
func (g *Group) Stats() Stats {
	sum := Stats{GSO: true, GRO: true}
	for _, c := range g.conns {
		sum.add(c.Stats())
	}
	return sum
}

// warnAboutBuffers logs, once per group, that the kernel gave smaller buffers than
// asked for, and what to do about it.
func (g *Group) warnAboutBuffers(cfg Config) {
	c := g.conns[0]
	if got := c.recvBuf; got < cfg.RecvBuf {
		cfg.Log.Warn().Int("want_bytes", cfg.RecvBuf).Int("got_bytes", got).Str("sysctl", "net.core.rmem_max").
			Msg("small UDP receive buffer: bursts may be lost; raise the sysctl to want_bytes")
	}
	if got := c.sendBuf; got < cfg.SendBuf {
		cfg.Log.Warn().Int("want_bytes", cfg.SendBuf).Int("got_bytes", got).Str("sysctl", "net.core.wmem_max").
			Msg("small UDP send buffer: bursts may wait; raise the sysctl to want_bytes")
	}
}

// A Conn is one socket of a [Group], the property of one worker: that worker
// alone calls ReadBatch. Everything else is safe for concurrent use.
type Conn struct {
	udp      *net.UDPConn
	raw      syscall.RawConn
	log      zerolog.Logger
	portable bool // use package net only
	v4only   bool // an AF_INET socket
	gro      bool
	gso      atomic.Bool // falls to false when the kernel refuses at run time

	recvBuf, sendBuf int // bytes, as given

	counters
}

func newConn(s *net.UDPConn, cfg Config) (*Conn, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{
		udp:      s,
		raw:      raw,
		log:      cfg.Log,
		portable: cfg.Portable || !native,
		v4only:   s.LocalAddr().(*net.UDPAddr).IP.To4() != nil,
	}
	return c, c.setOptions(cfg)
}

// ReadBatch waits for a datagram, then fills b with what has arrived: b.N is 1 to
// Slots. See [Batch] for who owns the data.
//
// Errors: net.ErrClosed (wrapped) after Close; any other means that the socket
// is of no more use. Errors that concern single packets are counted, not
// returned. Linux: one recvmmsg(2); elsewhere N is always 1.
func (c *Conn) ReadBatch(b *Batch) error {
	b.reset()
	if c.portable {
		return c.readPortable(b)
	}
	return c.readNative(b)
}

// SetDF switches path-MTU discovery by our own probes: on, every datagram carries
// the don't-fragment flag (IPv6 has no other way), what is larger than the
// device's MTU is dropped as DropTooBig, and the kernel's own guess of the path
// MTU is left aside (IP_PMTUDISC_PROBE, ip(7)). Listen switches it on. Off, the kernel
// fragments. Elsewhere than on Linux the error is ErrNotSupported.
func (c *Conn) SetDF(on bool) error { return setDF(c.raw, on, c.v4only) }

// Stats returns the counters of this socket.
func (c *Conn) Stats() Stats {
	s := Stats{GSO: c.gso.Load(), GRO: c.gro, RecvBuf: c.recvBuf, SendBuf: c.sendBuf}
	s.KernelDrops = kernelDrops(c.raw)
	c.load(&s)
	return s
}

func closeAll(socks []*net.UDPConn) error {
	var errs []error
	for _, s := range socks {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// unmap turns an IPv4 address in IPv6 clothes into an IPv4 address.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
