package visor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// A fabric is an overlay on loopback sockets, which several planes share.
type fabric struct {
	mu      sync.Mutex
	ports   map[fakeAddr]net.Addr // where a port of the overlay really is
	dialled map[string]fakeAddr   // who dialled from a loopback address
}

func newFabric() *fabric {
	return &fabric{ports: map[fakeAddr]net.Addr{}, dialled: map[string]fakeAddr{}}
}

// A fakeAddr is an address of the overlay.
type fakeAddr struct {
	pk   cipher.PubKey
	net  string
	port uint16
}

func (a fakeAddr) Network() string { return "fake" }
func (a fakeAddr) String() string  { return api.Peer(a.pk, a.port) }

// fakePlane is a data plane without any floor.
type fakePlane struct {
	*fabric
	pk cipher.PubKey

	lm     sync.Mutex
	linked []api.Link
	rules  []api.Route
	closed chan struct{}

	expected map[cipher.PubKey]bool
	carried  []net.Conn
	hurried  []cipher.PubKey
	trouble  string
}

func (p *fakePlane) Status(s *api.Status) { s.Sessions = 7 }

func (p *fakePlane) Links() []api.Link {
	p.lm.Lock()
	defer p.lm.Unlock()
	return slices.Clone(p.linked)
}

func (p *fakePlane) AddLink(pk cipher.PubKey, typ string, addr netip.AddrPort) error {
	p.lm.Lock()
	defer p.lm.Unlock()
	p.linked = append(p.linked, api.Link{PK: pk, Type: typ, Addr: addr.String(), State: api.LinkUp})
	return nil
}

func (p *fakePlane) RemoveLink(pk cipher.PubKey, typ string) error {
	p.lm.Lock()
	defer p.lm.Unlock()
	p.linked = slices.DeleteFunc(p.linked, func(l api.Link) bool { return l.PK == pk && l.Type == typ })
	return nil
}

func (p *fakePlane) Retarget(pk cipher.PubKey, typ string, addr netip.AddrPort) error {
	p.lm.Lock()
	defer p.lm.Unlock()
	for i, l := range p.linked {
		if l.PK == pk && l.Type == typ {
			p.linked[i].Addr = addr.String()
			return nil
		}
	}
	return notFound("link to", pk.String())
}

func (p *fakePlane) Expect(pk cipher.PubKey, yes bool) {
	p.lm.Lock()
	defer p.lm.Unlock()
	if p.expected == nil {
		p.expected = map[cipher.PubKey]bool{}
	}
	p.expected[pk] = yes
}

func (p *fakePlane) expects(pk cipher.PubKey) bool {
	p.lm.Lock()
	defer p.lm.Unlock()
	return p.expected[pk]
}

// AcceptStream makes an inbound link, whose stream is what the test gets.
func (p *fakePlane) AcceptStream(conn net.Conn, from cipher.PubKey) {
	p.lm.Lock()
	defer p.lm.Unlock()
	p.linked = append(p.linked, api.Link{PK: from, Type: api.DMSG, State: api.LinkUp, Inbound: true})
	p.carried = append(p.carried, conn)
}

func (p *fakePlane) Hurry(pk cipher.PubKey, _ string) {
	p.lm.Lock()
	defer p.lm.Unlock()
	p.hurried = append(p.hurried, pk)
}

func (p *fakePlane) Trouble(cipher.PubKey) string {
	p.lm.Lock()
	defer p.lm.Unlock()
	return p.trouble
}

func (p *fakePlane) Routes() []api.Route {
	p.lm.Lock()
	defer p.lm.Unlock()
	return slices.Clone(p.rules)
}

func (p *fakePlane) AddRule(r api.Rule) error {
	p.lm.Lock()
	defer p.lm.Unlock()
	if slices.ContainsFunc(p.rules, func(o api.Route) bool { return o.In == r.In }) {
		return api.ErrExists.With("there is a rule for label %d", r.In.Label)
	}
	p.rules = append(p.rules, api.Route{Rule: r, Kind: api.RouteForward, Static: true})
	return nil
}

func (p *fakePlane) RemoveRule(in api.Hop) error {
	p.lm.Lock()
	defer p.lm.Unlock()
	n := len(p.rules)
	p.rules = slices.DeleteFunc(p.rules, func(o api.Route) bool { return o.In == in })
	if len(p.rules) == n {
		return notFound("rule", in.String())
	}
	return nil
}

func (p *fakePlane) Run(ctx context.Context) error {
	<-ctx.Done()
	close(p.closed)
	return nil
}

func (p *fakePlane) KeyOf(a net.Addr) cipher.PubKey { return a.(fakeAddr).pk }

func (p *fakePlane) dial(network string, pk cipher.PubKey, port uint16) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, ok := p.ports[fakeAddr{pk, network, port}]
	if !ok {
		return nil, errors.New("no route to " + pk.String())
	}
	c, err := net.Dial(network, to.String())
	if err == nil {
		p.dialled[network+c.LocalAddr().String()] = fakeAddr{p.pk, network, 1}
	}
	return c, err
}

func (p *fakePlane) Dial(_ context.Context, pk cipher.PubKey, port uint16) (net.Conn, error) {
	return p.dial("tcp4", pk, port)
}

func (p *fakePlane) DialPacket(_ context.Context, pk cipher.PubKey, port uint16) (net.Conn, error) {
	return p.dial("udp4", pk, port)
}

func (p *fakePlane) DialClass(ctx context.Context, pk cipher.PubKey, _ uint32, port uint16) (net.Conn, error) {
	return p.Dial(ctx, pk, port)
}

func (p *fakePlane) DialPacketClass(ctx context.Context, pk cipher.PubKey, _ uint32, port uint16) (net.Conn, error) {
	return p.DialPacket(ctx, pk, port)
}

func (p *fakePlane) Live() []session.RouteInfo { return nil }

func (p *fakePlane) Static(cipher.PubKey) bool { return false }

func (p *fakePlane) open(network string, port uint16, at net.Addr) fakeAddr {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := fakeAddr{p.pk, network, port}
	p.ports[a] = at
	return a
}

type fakeListener struct {
	net.Listener
	p *fakePlane
	a fakeAddr
}

func (l fakeListener) Addr() net.Addr { return l.a }

type fakeStream struct {
	*net.TCPConn
	a fakeAddr
}

func (s fakeStream) RemoteAddr() net.Addr { return s.a }

func (l fakeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return fakeStream{c.(*net.TCPConn), l.p.dialled["tcp4"+c.RemoteAddr().String()]}, nil
}

func (p *fakePlane) Listen(port uint16) (net.Listener, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return fakeListener{ln, p, p.open("tcp4", port, ln.Addr())}, nil
}

func (p *fakePlane) ListenPacket(port uint16) (net.PacketConn, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fake: %w", err)
	}
	p.open("udp4", port, c.LocalAddr())
	return c, nil
}
