package relay

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// receive begins with a new connection. The handshake has a goroutine of its own,
// whose stack grows, so that the session's reader begins with a small one.
func (srv *Server) receive(ctx context.Context, conn net.Conn) {
	if srv.fromProxy(conn) {
		srv.group.Go(func() {
			at, err := readProxyHeader(conn, proto.HandshakeTimeout)
			if err != nil {
				srv.turnAway(conn, RefusedProxy)
				return
			}
			if !at.IsValid() { // the proxy speaks for itself, as health checks do
				at = placeOf(conn.RemoteAddr())
			}
			srv.admit(ctx, conn, at)
		})
		return
	}
	srv.admit(ctx, conn, placeOf(conn.RemoteAddr()))
}

// admit lets the connection in, as far as limits go, and starts its handshake.
func (srv *Server) admit(ctx context.Context, conn net.Conn, at place) {
	if why := srv.gate.enter(at); why != ReasonNone {
		srv.turnAway(conn, why)
		return
	}
	srv.group.Go(func() { srv.handshake(ctx, conn, at) })
}

func (srv *Server) turnAway(conn net.Conn, why Reason) {
	srv.stats.count(why)
	_ = conn.Close() // refused: whatever the error, it is gone
	if e := srv.log.Debug(); e.Enabled() {
		e.Stringer("address", conn.RemoteAddr()).Stringer("reason", why).Msg("connection refused")
	}
}

// handshake makes a session of the connection.
func (srv *Server) handshake(ctx context.Context, conn net.Conn, at place) {
	why := srv.welcome(ctx, conn, at)
	if why != ReasonNone {
		srv.gate.leave(at, true)
		srv.turnAway(conn, why)
	}
}

func (srv *Server) welcome(ctx context.Context, conn net.Conn, at place) Reason {
	c, ok := conn.(Conn)
	if !ok {
		return RefusedHandshake
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return RefusedHandshake
	}
	srv.processors <- struct{}{}
	hop, err := srv.cfg.Identity.AcceptSession(ctx, &politeConn{conn, srv.processors})
	<-srv.processors
	if err != nil {
		return RefusedHandshake
	}
	if why := srv.gate.proven(hop.Remote(), time.Now()); why != ReasonNone {
		return why
	}
	yamux.Tune(conn, queueLimit) // the kernel's queue is not to be longer than ours
	s := newSession(srv, conn, raw, hop, at)
	old, ok := srv.join(s)
	if !ok {
		srv.stats.count(RefusedDraining)
		_ = conn.Close()
		srv.gate.leave(at, false)
		return ReasonNone
	}
	srv.stats.admits.Add(1)
	srv.group.Go(s.read)
	if old != nil {
		old.close(EndedReplaced)
	}
	if e := srv.log.Debug(); e.Enabled() {
		e.Stringer("client", s.peer).Stringer("address", conn.RemoteAddr()).Msg("session")
	}
	return ReasonNone
}

// A politeConn gives the right to do cryptography back while it waits for bytes, so
// that many slow handshakes do not stop a quick one.
type politeConn struct {
	net.Conn
	processors chan struct{}
}

func (c *politeConn) Read(p []byte) (int, error) {
	<-c.processors
	n, err := c.Conn.Read(p)
	c.processors <- struct{}{}
	return n, err
}

// fromProxy reports whether the connection comes from a load balancer that we trust.
func (srv *Server) fromProxy(conn net.Conn) bool {
	if len(srv.cfg.Proxies) == 0 {
		return false
	}
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return false
	}
	ip := ap.Addr().Unmap()
	for _, p := range srv.cfg.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
