package netstack

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// defaultMemory is taken for the machine's RAM where it cannot be read.
	defaultMemory = 2 << 30

	// maxRTO caps the back-off of retransmissions: after an outage a stream goes on
	// within this time, where TCP's usual 120 s would leave it asleep.
	maxRTO = 4 * time.Second
	// maxRetries × maxRTO is about two minutes, TCP's usual patience.
	maxRetries = 30

	// A stream that is quiet for keepIdle asks whether the other end still knows
	// it; after keepCount unanswered questions it ends. Sessions notice dead routes
	// much sooner: this is for a visor that came back without its streams.
	keepIdle     = 2 * time.Minute
	keepInterval = 20 * time.Second
	keepCount    = 6

	// timeWait is how long a closed stream's ports rest. No packet lives that long:
	// sessions drop what is older than their replay window.
	timeWait = 10 * time.Second

	// backlog is how many streams may wait for one listener's Accept.
	backlog = 256
)

// A Config is what a [Stack] is made from.
type Config struct {
	Network Network       // the way to other visors; required
	PubKey  cipher.PubKey // our own key
	Budget  int64         // bytes for all stream buffers together; 0 is 1/8 of RAM
	Log     zerolog.Logger
}

// Validate reports what is missing.
func (c Config) Validate() error {
	var errs []error
	if c.Network == nil {
		errs = append(errs, errors.New("skynet: config: no network"))
	}
	if c.PubKey.IsZero() {
		errs = append(errs, errors.New("skynet: config: no public key"))
	}
	if c.Budget < 0 {
		errs = append(errs, fmt.Errorf("skynet: config: budget of %d bytes", c.Budget))
	}
	return errors.Join(errs...)
}

// A Stack is one visor's end of all its streams and datagrams.
type Stack struct {
	cfg    Config
	log    zerolog.Logger
	own    [16]byte // our overlay address
	stack  *stack.Stack
	nic    *nic
	budget budget
	drops  drops
	begun  halfOpen
	udp    ports

	coalescers sync.Pool // *coalescer, one per worker that delivers right now
	buffers    sync.Pool // *[copyBuffer]byte, one per copy that has data in hand

	mu        sync.Mutex
	listeners map[uint16]*listener // by port
	closed    bool
}

// New starts a Stack. Close it to end its goroutines.
//
// Errors: those of [Config.Validate].
func New(cfg Config) (*Stack, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Budget == 0 {
		ram := totalMemory()
		if ram <= 0 {
			ram = defaultMemory
		}
		cfg.Budget = ram / 8
	}
	s := &Stack{
		cfg: cfg,
		log: cfg.Log,
		own: cfg.PubKey.OverlayAddr().As16(),

		listeners: make(map[uint16]*listener),
	}
	s.coalescers.New = func() any { return &coalescer{dst: s.own} }
	s.buffers.New = func() any { return new([copyBuffer]byte) }
	s.begun.alive, s.begun.byKey = s.pendingFrom, make(map[cipher.PubKey]*attempts)
	s.udp.init()
	s.nic = newNIC(cfg.Network, &s.drops)
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC},
		HandleLocal:        true, // streams to ourselves stay inside
	})
	s.budget = budget{total: cfg.Budget, stack: s.stack, streams: make(map[*Conn]struct{}), byKey: make(map[cipher.PubKey]int)}
	s.budget.apply()
	if err := s.configure(); err != nil {
		s.stack.Destroy()
		return nil, err
	}
	return s, nil
}

// configure sets gVisor up: one interface, one address, and TCP's constants.
func (s *Stack) configure() error {
	rto, retries := tcpip.TCPMaxRTOOption(maxRTO), tcpip.TCPMaxRetriesOption(maxRetries)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, opt := range []tcpip.SettableTransportProtocolOption{&rto, &retries, &wait} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("skynet: set %T: %w", opt, fromStack(err))
		}
	}
	if err := s.stack.CreateNIC(nicID, s.nic); err != nil {
		return fmt.Errorf("skynet: create interface: %w", fromStack(err))
	}
	addr := tcpip.ProtocolAddress{
		Protocol:          header.IPv6ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom16(s.own).WithPrefix(),
	}
	if err := s.stack.AddProtocolAddress(nicID, addr, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("skynet: add address: %w", fromStack(err))
	}
	s.stack.AddRoute(tcpip.Route{Destination: header.IPv6EmptySubnet, NIC: nicID})
	return nil
}

// Deliver takes the payloads of one burst from one peer, in order, each without
// its proto byte: for packet.ProtoTCP a TCP header and data, for packet.ProtoUDP
// the two ports and data. They are borrowed until return.
//
// Sessions call it on packet workers, several at once. It does not block. The
// source is from's key, whatever the packet says; what is malformed or not wanted
// is counted, see [Stack.Drops].
func (s *Stack) Deliver(from Peer, proto uint8, payloads [][]byte) {
	switch proto {
	case packet.ProtoTCP:
		s.deliverTCP(from, payloads)
	case packet.ProtoUDP:
		s.deliverUDP(from.PubKey(), from.Class(), payloads)
	default:
		s.drops.add(DropProto, len(payloads))
	}
}

func (s *Stack) deliverTCP(from Peer, payloads [][]byte) {
	up := s.nic.attached()
	if up == nil {
		return // closed
	}
	source := Addr{PK: from.PubKey(), Class: from.Class()}
	payloads, refused := s.withoutSYNs(source, payloads)
	s.drops.add(DropHalfOpen, refused)
	c := s.coalescers.Get().(*coalescer)
	c.src, c.up = source.overlay(), up
	s.drops.add(DropMalformed, c.burst(payloads))
	c.up = nil
	s.coalescers.Put(c)
}

// PeerGone ends all streams to pk over the routes of a class with [ErrPeerGone]. The
// floor below calls it when it has given up on these routes.
func (s *Stack) PeerGone(pk cipher.PubKey, class uint32) {
	s.budget.each(func(c *Conn) {
		if c.remote.PK == pk && c.remote.Class == class {
			c.fail(ErrPeerGone)
		}
	})
}

// Streams returns how many streams are open.
func (s *Stack) Streams() int {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return len(s.budget.streams)
}

// Busy reports whether streams to pk over the routes of a class are open: these routes
// are needed, however quiet they are.
func (s *Stack) Busy(pk cipher.PubKey, class uint32) bool {
	busy := false
	s.budget.each(func(c *Conn) { busy = busy || c.remote.PK == pk && c.remote.Class == class })
	return busy
}

// Addr returns our address with the given port.
func (s *Stack) Addr(port uint16) Addr { return Addr{PK: s.cfg.PubKey, Port: port} }

// remember adds l to what Close closes, unless that has happened.
func (s *Stack) remember(l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l.addr.Port] = l
	return true
}

func (s *Stack) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Stack) forget(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners[l.addr.Port] == l {
		delete(s.listeners, l.addr.Port)
	}
}

// listens reports whether somebody accepts streams on port.
func (s *Stack) listens(port uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listeners[port] != nil
}

// Close resets all streams, closes all sockets and returns when gVisor's
// goroutines have ended. It may be called more than once.
func (s *Stack) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	listeners := slices.Collect(maps.Values(s.listeners))
	s.mu.Unlock()

	for _, l := range listeners {
		l.Close()
	}
	s.budget.close() // after this nobody can add a stream
	s.budget.each(func(c *Conn) { c.fail(net.ErrClosed) })
	s.udp.closeAll()
	s.stack.Destroy()
	return nil
}
