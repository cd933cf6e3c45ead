package netstack

import (
	"fmt"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A listener is a TCP port of ours.
type listener struct {
	stack *Stack
	ep    tcpip.Endpoint
	wq    waiter.Queue
	entry waiter.Entry
	addr  Addr
	in    side // wake and lock for Accept; deadlines are not used
	done  chan struct{}
	once  sync.Once
}

// Listen opens a port for streams; 0 picks a free one. RemoteAddr of what Accept
// returns is an [Addr] with the key that the peer has proved, and the class of the routes it came by, where the answers go.
//
// Errors: [ErrPortInUse], net.ErrClosed.
func (s *Stack) Listen(port uint16) (net.Listener, error) {
	if s.isClosed() {
		return nil, net.ErrClosed
	}
	l := &listener{stack: s, addr: s.Addr(port), done: make(chan struct{})}
	l.in.init()
	ep, err := s.stack.NewEndpoint(tcp.ProtocolNumber, header.IPv6ProtocolNumber, &l.wq)
	if err != nil {
		return nil, fmt.Errorf("skynet: listen on port %d: %w", port, fromStack(err))
	}
	l.ep = ep
	l.entry.Init(l, waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr)
	l.wq.EventRegister(&l.entry)
	err = ep.Bind(tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom16(s.own), Port: port})
	if err == nil {
		err = ep.Listen(backlog)
	}
	if err != nil {
		ep.Close()
		return nil, fmt.Errorf("skynet: listen on port %d: %w", port, fromStack(err))
	}
	if a, err := ep.GetLocalAddress(); err == nil {
		l.addr.Port = a.Port
	}
	if !s.remember(l) {
		ep.Close()
		return nil, net.ErrClosed
	}
	return l, nil
}

// NotifyEvent implements waiter.EventListener.
func (l *listener) NotifyEvent(waiter.EventMask) { l.in.poke() }

// Addr returns our key and the port.
func (l *listener) Addr() net.Addr { return l.addr }

// Accept implements net.Listener. Streams that do not fit the budget or their key's
// share of it, or whose peer has gone since, are reset and skipped.
func (l *listener) Accept() (net.Conn, error) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	for {
		select {
		case <-l.done:
			return nil, l.opError(net.ErrClosed)
		default:
		}
		var from tcpip.FullAddress
		ep, wq, err := l.ep.Accept(&from)
		switch err.(type) {
		case nil:
			if c, ok := l.stack.accepted(ep, wq, l.addr, from); ok {
				return c, nil
			}
		case *tcpip.ErrWouldBlock:
			<-l.in.wake
		default:
			return nil, l.opError(fromStack(err))
		}
	}
}

// accepted makes a Conn of a stream that a peer has opened.
func (s *Stack) accepted(ep tcpip.Endpoint, wq *waiter.Queue, local Addr, from tcpip.FullAddress) (*Conn, bool) {
	remote, known := s.sourceOf(from)
	s.begun.end(remote.PK, attemptID{uint32(from.Port)<<16 | uint32(local.Port), remote.Class})
	c := s.newConn(ep, wq, local, remote)
	c.guest = remote.PK != s.cfg.PubKey
	if !known {
		c.fail(ErrPeerGone)
		return nil, false
	}
	if err := s.budget.add(c); err != nil {
		s.drops.add(DropStreams, 1)
		c.fail(err)
		return nil, false
	}
	c.greet()
	return c, true
}

// sourceOf returns what is behind an address of gVisor's: ourselves, or a peer that has
// a session.
func (s *Stack) sourceOf(from tcpip.FullAddress) (Addr, bool) {
	overlay := from.Addr.As16()
	if overlay == s.own {
		return s.Addr(from.Port), true
	}
	p, ok := s.cfg.Network.Lookup(overlay)
	if !ok {
		return Addr{Port: from.Port}, false
	}
	return Addr{PK: p.PubKey(), Port: from.Port, Class: p.Class()}, true
}

// Close closes the port. Streams that nobody has accepted are reset.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.stack.forget(l)
		l.wq.EventUnregister(&l.entry)
		l.ep.Close()
		l.in.poke()
	})
	return nil
}

func (l *listener) opError(err error) error {
	return &net.OpError{Op: "accept", Net: Net, Addr: l.addr, Err: err}
}
