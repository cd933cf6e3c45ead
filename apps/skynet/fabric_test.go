package skynet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fabric is an overlay in memory: loopback sockets with the addresses of keys.
type fabric struct {
	mu      sync.Mutex
	tcp     map[addr]net.Listener
	udp     map[addr]netip.AddrPort
	senders map[netip.AddrPort]addr // who dialled from a loopback address
	plain   bool                    // streams that can only Read, Write and Close
}

// An addr is an address of the overlay.
type addr struct {
	key  string
	port uint16
}

func (a addr) Network() string { return "fabric" }
func (a addr) String() string  { return fmt.Sprintf("%s:%d", a.key, a.port) }

// A node is a visor's view of the fabric.
type node struct {
	*fabric
	key string
}

func newFabric() *fabric {
	return &fabric{tcp: map[addr]net.Listener{}, udp: map[addr]netip.AddrPort{}, senders: map[netip.AddrPort]addr{}}
}

func (f *fabric) parse(s string) (addr, error) {
	var a addr
	key, port, _ := strings.Cut(s, ":")
	_, err := fmt.Sscan(port, &a.port)
	a.key = key
	return a, err
}

func (n *node) Key(a net.Addr) string { return a.(addr).key }

func (n *node) Dial(_ context.Context, s string) (net.Conn, error) {
	to, err := n.parse(s)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	ln, ok := n.tcp[to]
	if !ok {
		return nil, errors.New("refused the connection")
	}
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	n.senders[conn.LocalAddr().(*net.TCPAddr).AddrPort()] = addr{n.key, 1}
	return n.wrap(conn, to), nil
}

// stream has the address of a key and all that TCP can.
type stream struct {
	*net.TCPConn
	remote addr
}

func (s *stream) RemoteAddr() net.Addr { return s.remote }

// Abort makes Close reset the connection.
func (s *stream) Abort() error { return s.SetLinger(0) }

// plainStream can do the least, and counts.
type plainStream struct {
	net.Conn
	remote addr
}

func (s *plainStream) RemoteAddr() net.Addr { return s.remote }

func (f *fabric) wrap(c net.Conn, remote addr) net.Conn {
	if f.plain {
		return &plainStream{c, remote}
	}
	return &stream{c.(*net.TCPConn), remote}
}

type port struct {
	net.Listener
	node *node
	addr addr
}

func (p *port) Addr() net.Addr { return p.addr }

func (p *port) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return p.node.wrap(c, p.node.senders[c.RemoteAddr().(*net.TCPAddr).AddrPort()]), nil
}

func (n *node) Listen(p uint16) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := addr{n.key, p}
	if _, ok := n.tcp[a]; ok {
		return nil, errors.New("port is in use")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.tcp[a] = ln
	return &port{ln, n, a}, nil
}

// packets is a datagram port whose peers have the addresses of keys.
type packets struct {
	*net.UDPConn
	node *node
	addr addr
}

func (p *packets) LocalAddr() net.Addr { return p.addr }

func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.UDPConn.ReadFromUDPAddrPort(b)
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return n, p.node.senders[from], err
}

func (p *packets) WriteTo(b []byte, to net.Addr) (int, error) {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	for ap, a := range p.node.senders {
		if a == to {
			return p.UDPConn.WriteToUDPAddrPort(b, ap)
		}
	}
	return 0, io.ErrClosedPipe
}

func (n *node) ListenPacket(p uint16) (net.PacketConn, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	a := addr{n.key, p}
	n.udp[a] = c.LocalAddr().(*net.UDPAddr).AddrPort()
	return &packets{c, n, a}, nil
}

func (n *node) DialPacket(_ context.Context, s string) (net.Conn, error) {
	to, err := n.parse(s)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	ap, ok := n.udp[to]
	if !ok {
		return nil, errors.New("no route to " + to.key)
	}
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(ap))
	if err != nil {
		return nil, err
	}
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	n.senders[local] = addr{n.key, local.Port()}
	return c, nil
}

// service starts a Service on the fabric.
func (f *fabric) service(t *testing.T, key string, edit func(*Config)) *Service {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Network = &node{f, key}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// add adds a forward and returns where it listens.
func add(t *testing.T, s *Service, id string, spec Spec) string {
	t.Helper()
	if err := s.Add(id, spec); err != nil {
		t.Fatal(err)
	}
	return find(t, s, id).Addr
}

func find(t *testing.T, s *Service, id string) Info {
	t.Helper()
	for _, i := range s.List() {
		if i.ID == id {
			return i
		}
	}
	t.Fatalf("no forward %q", id)
	return Info{}
}
