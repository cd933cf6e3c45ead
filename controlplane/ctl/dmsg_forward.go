package ctl

import (
	"context"
	"net"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// forwarded is what dmsg forward prints as JSON once it works.
type forwarded struct {
	Address string `json:"address"` // where to connect to
	Target  string `json:"target"`  // where that leads
}

func (p *Program) dmsgForward(cmd *kingpin.CmdClause, f *dmsgFlags) {
	var s api.ForwardSpec
	cmd.Flag("expose", "The local service, host:port.").PlaceHolder("ADDR").StringVar(&s.Expose)
	cmd.Flag("port", "The port of the own key.").PlaceHolder("PORT").SetValue(portValue{&s.Port})
	who := accessFlags(cmd)
	cmd.Flag("reach", "The key and port to reach, PK:PORT.").PlaceHolder("PK:PORT").StringVar(&s.Reach)
	cmd.Flag("local", "The local address to listen on, IP:port.").PlaceHolder("ADDR").StringVar(&s.Local)
	cmd.Validate(func(*kingpin.CmdClause) error {
		s.Allow, s.Public = who.allow, who.public
		return dmsgWords(forwardFaults(s))
	})
	p.do(cmd, func(ctx context.Context) error {
		n, err := p.network(f)
		if err != nil {
			return err
		}
		defer n.close()
		if s.Expose != "" {
			return n.expose(ctx, s, who)
		}
		return n.reach(ctx, s)
	})
}

// expose joins the streams that come to a port of the own key with a local service.
func (n *dmsgNet) expose(ctx context.Context, s api.ForwardSpec, who *access) error {
	lis, err := n.listen(ctx, s.Port)
	if err != nil {
		return err
	}
	defer lis.Close()
	self := proto.Addr{PK: n.client.PubKey(), Port: s.Port}.String()
	if err := n.p.line(forwarded{self, s.Expose}, func() { n.p.say("%s is exposed at %s", s.Expose, self) }); err != nil {
		return err
	}
	d := door{p: n.p, lis: lis, access: who, limit: maxServed}
	return serveAll(ctx, maxServed, d.accept, lis.Close, func(ctx context.Context, st *dmsg.Stream) {
		defer d.leave(st)
		peer := st.Peer().String()
		var dialer net.Dialer
		dctx, cancel := n.f.within(ctx)
		local, err := dialer.DialContext(dctx, "tcp", s.Expose)
		cancel()
		if err != nil {
			st.Reset()
			n.p.notice(note{Event: "failed", Peer: peer, Text: "the local service does not answer " + peer + ": " + err.Error()})
			return
		}
		n.p.forwardOne(ctx, peer, st, local)
	})
}

// reach joins the connections to a local port with streams to a key.
func (n *dmsgNet) reach(ctx context.Context, s api.ForwardSpec) error {
	to, err := proto.ParseAddr(s.Reach, 0)
	if err != nil {
		return api.ErrBadRequest.With("--reach: %s", bare(err))
	}
	lis, err := net.Listen("tcp", s.Local)
	if err != nil {
		return api.ErrConflict.With("--local: %v", err)
	}
	defer func() { _ = lis.Close() }()
	local := lis.Addr().String()
	if err := n.p.line(forwarded{local, s.Reach}, func() { n.p.say("%s is reached at %s", s.Reach, local) }); err != nil {
		return err
	}
	return serveAll(ctx, maxServed, lis.Accept, lis.Close, func(ctx context.Context, conn net.Conn) {
		st, err := n.dial(ctx, to)
		if err != nil {
			abort(conn)
			n.p.notice(note{Event: "failed", Peer: to.String(), Text: err.Error()})
			return
		}
		n.p.forwardOne(ctx, conn.RemoteAddr().String(), conn, st)
	})
}

// forwardOne joins two connections and tells of them; peer is where the first comes
// from.
func (p *Program) forwardOne(ctx context.Context, peer string, from, to net.Conn) {
	p.notice(note{Event: "open", Peer: peer, Text: "connection from " + peer})
	j := pipe{a: from, b: to}
	err := j.run(ctx)
	text := "end of the connection from " + peer + ": " + size(j.fromA.Load()) + " from there, " + size(j.fromB.Load()) + " to there"
	if err != nil {
		text += "; it broke: " + bare(err)
	}
	p.notice(note{Event: "close", Peer: peer, Text: text})
}

// Words of the API that are others on a command line without a visor.
func dmsgWords(err error) error {
	if err == nil {
		return nil
	}
	return api.ErrBadRequest.With("%s", strings.ReplaceAll(err.Error(), "this visor's key", "the own key"))
}
