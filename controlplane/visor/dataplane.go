package visor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/netstack"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/session"
)

// clockFile keeps the visor's handshake timestamps from going back, beside its
// configuration.
const clockFile = "handshake.clock"

// New opens the visor's sockets. Run it, or they stay open.
//
// Errors say which address or file could not be opened.
func New(opt Options) (*Visor, error) {
	n, err := newNetwork(&opt)
	if err != nil {
		return nil, err
	}
	p, err := assemble(&opt, n)
	if err != nil {
		n.close()
		return nil, err
	}
	v, err := newVisor(opt, p, n)
	if err != nil {
		p.discard()
		n.close()
		return nil, err
	}
	return v, nil
}

// floors is the data plane, floor by floor. It implements plane.
type floors struct {
	*netstack.Stack // Dial, DialPacket, Listen, ListenPacket

	links    *link.Engine
	forward  *forward.Engine
	sessions *session.Manager
	workers  int

	mu   sync.Mutex
	ends map[api.Hop]end // routes that an operator set
}

// An end is a route that begins and ends here.
type end struct {
	rule api.Rule
	id   uint64 // the session manager's
}

// assemble builds the floors from the bottom up, and puts the network on top.
func assemble(opt *Options, n *network) (*floors, error) {
	static, err := cipher.NewStaticKey(opt.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("visor: secret key: %w", err)
	}
	clock, err := noise.NewClock(conf.Resolve(opt.File, clockFile), opt.Log)
	if err != nil {
		return nil, fmt.Errorf("visor: %w", err)
	}
	lc, err := linkConfig(&opt.Config)
	if err != nil {
		return nil, err
	}
	lc.Static, lc.Clock, lc.Log = static, clock, opt.Log.With().Str("floor", "link").Logger()
	n.hooks(&lc)

	f := &floors{workers: lc.Workers, ends: map[api.Hop]end{}}
	f.forward = forward.New(forward.Config{
		PubKey:  static.PubKey(),
		Transit: forward.Transit(opt.Config.Transit),
		Log:     opt.Log.With().Str("floor", "forward").Logger(),
	})
	if f.links, err = link.New(lc, f.forward); err != nil {
		f.forward.Close()
		return nil, fmt.Errorf("visor: %w", err)
	}
	// Streams need sessions and sessions need streams: one of them is told later,
	// but before any packet moves.
	network := &sessionNetwork{}
	f.Stack, err = netstack.New(netstack.Config{
		Network: network, PubKey: static.PubKey(), Budget: int64(opt.Config.StreamMemoryMB) << 20,
		Log: opt.Log.With().Str("floor", "netstack").Logger(),
	})
	if err == nil {
		f.sessions, err = session.New(session.Config{
			Static: static, Links: f.links, Forward: f.forward, Upper: upper{f.Stack}, Clock: clock,
			OnRoute: n.onRoute,
			Log:     opt.Log.With().Str("floor", "session").Logger(),
		})
	}
	if err != nil {
		f.discard()
		return nil, fmt.Errorf("visor: %w", err)
	}
	network.manager = f.sessions
	if err := n.attach(opt, static, f); err != nil {
		f.discard()
		return nil, err
	}
	return f, nil
}

// linkConfig translates the configuration. Addresses are valid.
func linkConfig(c *config.Config) (link.Config, error) {
	lc := link.DefaultConfig()
	udp := c.ListenUDP
	if udp == "" {
		udp = "[::]:0"
	}
	var err error
	if lc.UDP, err = netip.ParseAddrPort(udp); err != nil {
		return lc, fmt.Errorf("visor: listen_udp: %w", err)
	}
	if c.ListenTCP != "" {
		if lc.TCP, err = netip.ParseAddrPort(c.ListenTCP); err != nil {
			return lc, fmt.Errorf("visor: listen_tcp: %w", err)
		}
	}
	lc.Workers = c.Workers
	if lc.Workers == 0 {
		lc.Workers = min(runtime.GOMAXPROCS(0), config.MaxWorkers)
	}
	lc.Policy.Open = c.Policy.Inbound == config.InboundOpen
	lc.Policy.MaxLinks = c.Policy.MaxLinks
	lc.Policy.Allow = map[cipher.PubKey]bool{}
	for _, pk := range c.Policy.Allow {
		lc.Policy.Allow[pk] = true
	}
	return lc, nil
}

// discard closes what was never run.
func (f *floors) discard() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = f.Run(ended) // nothing has happened that could fail
}

// Run implements plane.
func (f *floors) Run(ctx context.Context) error {
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	moving := make(chan error, 1)
	go func() { moving <- f.links.Run(below) }()
	var err error
	select {
	case err = <-moving:
		moving <- nil
	case <-ctx.Done():
	}
	// From the top down: streams end while links can still tell the other side.
	if f.Stack != nil {
		_ = f.Close() // nobody is left whom an error could help
	}
	stop()
	if e := <-moving; err == nil {
		err = e
	}
	if f.sessions != nil {
		f.sessions.Close()
	}
	f.forward.Close()
	return err
}

// KeyOf implements plane.
func (f *floors) KeyOf(addr net.Addr) cipher.PubKey {
	a, _ := addr.(netstack.Addr)
	return a.PK
}

// Status implements plane.
func (f *floors) Status(s *api.Status) {
	if a := f.links.UDPAddr(); a.IsValid() {
		s.ListenUDP = a.String()
	}
	if a := f.links.TCPAddr(); a.IsValid() {
		s.ListenTCP = a.String()
	}
	s.Workers = f.workers
	peers := map[cipher.PubKey]bool{}
	for _, r := range f.sessions.Routes() {
		peers[r.Peer] = true
	}
	s.Sessions = len(peers)
	addDrops(s.Drops, "link", f.links.Drops())
	addDrops(s.Drops, "forward", f.forward.Drops())
	addDrops(s.Drops, "session", f.sessions.Drops())
	for reason, n := range f.Drops() {
		addDrops(s.Drops, "netstack", map[string]uint64{reason.String(): n})
	}
}

// addDrops adds a floor's counts that are not zero.
func addDrops(to map[string]uint64, floor string, drops map[string]uint64) {
	for reason, n := range drops {
		if n > 0 {
			to[floor+": "+reason] = n
		}
	}
}

// Links implements plane.
func (f *floors) Links() []api.Link {
	var all []api.Link
	for _, l := range f.links.Links() {
		i := l.Info()
		a := api.Link{
			PK: i.Peer, Type: i.Type.String(), Addr: i.Addr, State: api.LinkDown, Inbound: !i.Outbound,
			RTTMicros: i.RTT.Microseconds(), SentBytes: i.TxBytes, RecvBytes: i.RxBytes, SentPkts: i.TxPackets, RecvPkts: i.RxPackets,
			LastError: i.LastError,
		}
		switch {
		case i.Up:
			since := time.Now().Add(-i.Since).UTC().Round(time.Second)
			a.State, a.MTU, a.Since = api.LinkUp, i.MTU, &since
		case i.Outbound:
			a.State = api.LinkConnecting
		}
		all = append(all, a)
	}
	return all
}

// AddLink implements plane.
func (f *floors) AddLink(pk cipher.PubKey, typ string, addr netip.AddrPort) error {
	t, err := link.ParseType(typ)
	if err == nil {
		_, err = f.links.AddLink(pk, t, addr)
	}
	return translate(err)
}

// RemoveLink implements plane.
func (f *floors) RemoveLink(pk cipher.PubKey, typ string) error {
	t, err := link.ParseType(typ)
	if err == nil {
		err = f.links.RemoveLink(pk, t)
	}
	return translate(err)
}

// Retarget implements plane.
func (f *floors) Retarget(pk cipher.PubKey, typ string, addr netip.AddrPort) error {
	t, err := link.ParseType(typ)
	if err == nil {
		err = f.links.Retarget(pk, t, addr)
	}
	return translate(err)
}

// Expect implements plane.
func (f *floors) Expect(pk cipher.PubKey, yes bool) { f.links.Expect(pk, yes) }

// AcceptStream implements plane.
func (f *floors) AcceptStream(conn net.Conn, from cipher.PubKey) { f.links.AcceptStream(conn, from) }

// Hurry implements plane.
func (f *floors) Hurry(pk cipher.PubKey, typ string) {
	if t, err := link.ParseType(typ); err == nil {
		f.links.Hurry(pk, t)
	}
}

// Trouble implements plane.
func (f *floors) Trouble(pk cipher.PubKey) string { return f.sessions.Trouble(pk) }

// sessionNetwork is the session manager as streams see it.
type sessionNetwork struct{ manager *session.Manager }

// DialClass implements netstack.Network.
func (n *sessionNetwork) DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (netstack.Peer, error) {
	s, err := n.manager.DialClass(ctx, pk, class)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Lookup implements netstack.Network.
func (n *sessionNetwork) Lookup(overlay [16]byte) (netstack.Peer, bool) {
	s, ok := n.manager.Lookup(overlay)
	if !ok {
		return nil, false
	}
	return s, true
}

// upper is the streams' floor as sessions see it.
type upper struct{ stack *netstack.Stack }

// Deliver implements session.Upper.
func (u upper) Deliver(from *session.Session, proto uint8, payloads [][]byte) {
	u.stack.Deliver(from, proto, payloads)
}

// SessionUp implements session.Upper.
func (upper) SessionUp(*session.Session) {}

// SessionDown implements session.Upper: streams end now, with an error that says
// why, where TCP alone would retransmit for minutes.
func (u upper) SessionDown(s *session.Session, _ error) { u.stack.PeerGone(s.PubKey(), s.Class()) }
