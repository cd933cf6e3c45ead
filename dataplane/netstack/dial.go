package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Dial opens a stream to a port of pk's visor, over the network or, for our own
// key, inside the process. It waits as long as ctx allows, for the session and then
// for the answer.
//
// Errors: what [Network.DialClass] says, ctx's error, [ErrTooManyStreams], net.ErrClosed,
// or a refusal, for which errors.Is(err, syscall.ECONNREFUSED).
func (s *Stack) Dial(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error) {
	return s.DialClass(ctx, pk, 0, port)
}

// DialClass is Dial over the routes of one class; the answers come over such routes as
// well. Our own key has none.
func (s *Stack) DialClass(ctx context.Context, pk cipher.PubKey, class uint32, port uint16) (net.Conn, error) {
	remote, err := s.way(ctx, pk, class, port)
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, remote)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, &refusedError{remote}
	default:
		return nil, fmt.Errorf("skynet: dial %s: %w", remote, err)
	}
}

// way returns the address of a port of pk's visor once packets can be sent there.
func (s *Stack) way(ctx context.Context, pk cipher.PubKey, class uint32, port uint16) (Addr, error) {
	if pk == s.cfg.PubKey {
		return s.Addr(port), nil
	}
	remote := Addr{PK: pk, Port: port, Class: class}
	if _, err := s.cfg.Network.DialClass(ctx, pk, class); err != nil {
		return Addr{}, fmt.Errorf("skynet: dial %s: %w", remote, err)
	}
	return remote, nil
}

// connect does TCP's handshake.
func (s *Stack) connect(ctx context.Context, remote Addr) (*Conn, error) {
	var wq waiter.Queue
	ep, terr := s.stack.NewEndpoint(tcp.ProtocolNumber, header.IPv6ProtocolNumber, &wq)
	if terr != nil {
		return nil, fromStack(terr)
	}
	c := s.newConn(ep, &wq, s.Addr(0), remote)
	if err := s.budget.add(c); err != nil {
		c.Close()
		return nil, err
	}
	// From here on PeerGone and Stack.Close reach c.
	to := tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom16(remote.overlay()), Port: remote.Port}
	terr = ep.Connect(to)
	if _, ok := terr.(*tcpip.ErrConnectStarted); ok {
		terr = nil
		for connecting(ep) && terr == nil {
			select {
			case <-ctx.Done():
				c.fail(context.Cause(ctx))
				return nil, context.Cause(ctx)
			case <-c.wr.wake:
				if err := c.ended(); err != nil {
					return nil, err
				}
			}
		}
		terr = ep.LastError()
	}
	if terr != nil {
		c.fail(fromStack(terr))
		return nil, c.ended()
	}
	c.greet()
	if local, err := ep.GetLocalAddress(); err == nil {
		c.local.Port = local.Port
	}
	return c, nil
}

// connecting reports whether the handshake is still going on.
func connecting(ep tcpip.Endpoint) bool {
	switch tcp.EndpointState(ep.State()) {
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return true
	}
	return false
}
