// Package skynet is port forwarding over the overlay: it exposes a local TCP or UDP
// service on a port of the visor's key, and makes a port of another key reachable
// on a local address.
//
//	client ── local port ── reach ═══ overlay ═══ expose ── local service
//
// A Service runs any number of forwards. It sees the overlay only as a Network. It
// adds no framing: what a TCP client writes is what the service reads, half-closes
// included, and a datagram stays a datagram.
package skynet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Network is the overlay. All methods may be called concurrently.
//
// Addresses of the overlay read "<key>:<port>" and, as they come from RemoteAddr
// and ReadFrom, can be compared with ==. Streams may implement io.ReaderFrom and
// io.WriterTo, to copy faster than through a buffer of ours, CloseWrite() error,
// to close by halves, and Abort() error, to reset.
type Network interface {
	Dial(ctx context.Context, addr string) (net.Conn, error)
	DialPacket(ctx context.Context, addr string) (net.Conn, error)
	Listen(port uint16) (net.Listener, error)
	ListenPacket(port uint16) (net.PacketConn, error)
	// Key returns the key in an address of the overlay as text.
	Key(addr net.Addr) string
}

// Config is what a Service needs. Network is required; DefaultConfig has the rest.
type Config struct {
	Network Network
	Log     zerolog.Logger

	MaxConns    int           // streams at a time, of each forward, shared by its keys
	MaxClients  int           // UDP clients at a time, likewise; each holds 64 KiB
	UDPIdle     time.Duration // a UDP client that is silent for up to twice this is forgotten
	DialTimeout time.Duration // for the other side of a new connection
}

// DefaultConfig returns the limits of a visor on a small machine.
func DefaultConfig() Config {
	return Config{Log: zerolog.Nop(), MaxConns: 4096, MaxClients: 256, UDPIdle: time.Minute, DialTimeout: 15 * time.Second}
}

// Validate returns all that is wrong with c, joined.
func (c Config) Validate() error {
	var errs []error
	if c.Network == nil {
		errs = append(errs, errors.New("skynet: no network"))
	}
	if c.MaxConns < 1 || c.MaxClients < 1 {
		errs = append(errs, fmt.Errorf("skynet: limits are %d connections and %d UDP clients; want at least 1", c.MaxConns, c.MaxClients))
	}
	if c.UDPIdle <= 0 || c.DialTimeout <= 0 {
		errs = append(errs, fmt.Errorf("skynet: time-outs are %v and %v; want more than 0", c.UDPIdle, c.DialTimeout))
	}
	return errors.Join(errs...)
}

// Reasons why a forward is not added or removed.
var (
	ErrExists   = errors.New("skynet: there is such a forward already")
	ErrNotFound = errors.New("skynet: there is no such forward")
	ErrClosed   = errors.New("skynet: closed")
)

// A Spec asks for a forward. Either Expose and Port are set, and one of Allow and
// Public; or Reach and Local.
type Spec struct {
	UDP bool // else TCP

	Expose string   // host:port of the local service
	Port   uint16   // of the visor's key
	Allow  []string // keys, as Network.Key writes them
	Public bool     // every key

	Reach string // "<key>:<port>"
	Local string // IP:port to listen on
}

// Validate returns the first thing that is wrong with s.
func (s Spec) Validate() error {
	switch {
	case (s.Expose == "") == (s.Reach == ""):
		return errors.New("skynet: want a service to expose or an address to reach, one of them")
	case s.Expose != "" && s.Port == 0:
		return errors.New("skynet: want the port on which the service is exposed")
	case s.Expose != "" && s.Public == (len(s.Allow) > 0):
		return errors.New("skynet: want either the keys that are allowed or public, to allow all")
	case s.Reach != "" && s.Local == "":
		return errors.New("skynet: want the local address to listen on")
	}
	return nil
}

// allows says whether key may use the exposed service.
func (s *Spec) allows(key string) bool { return s.Public || slices.Contains(s.Allow, key) }

// target is what connections are made to.
func (s *Spec) target() string { return cmp.Or(s.Expose, s.Reach) }

// A Service runs forwards. Its methods may be called concurrently.
type Service struct {
	cfg     Config
	buffers sync.Pool // *[bufferLen]byte

	mu       sync.Mutex
	closed   bool
	forwards map[string]*forward
}

// New returns a Service without forwards.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Service{
		cfg:      cfg,
		forwards: map[string]*forward{},
		buffers:  sync.Pool{New: func() any { return new([bufferLen]byte) }},
	}, nil
}

// Add starts the forward spec under the name id: when it returns, the port is open.
// Errors: ErrExists, ErrClosed, what is wrong with spec, and why the port could not
// be opened.
func (s *Service) Add(id string, spec Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if _, ok := s.forwards[id]; ok {
		return ErrExists
	}
	f, err := s.start(id, spec)
	if err != nil {
		return err
	}
	s.forwards[id] = f
	return nil
}

// Remove ends the forward id: its port and its connections are closed when Remove
// returns. It fails with ErrNotFound.
func (s *Service) Remove(id string) error {
	s.mu.Lock()
	f, ok := s.forwards[id]
	delete(s.forwards, id)
	s.mu.Unlock()
	if !ok {
		return ErrNotFound
	}
	f.stop()
	return nil
}

// List returns the forwards, sorted by name.
func (s *Service) List() []Info {
	s.mu.Lock()
	infos := make([]Info, 0, len(s.forwards))
	for _, f := range s.forwards {
		infos = append(infos, f.info())
	}
	s.mu.Unlock()
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return infos
}

// Close ends all forwards. It may be called more than once.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	forwards := s.forwards
	s.forwards = map[string]*forward{}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range forwards {
		wg.Go(f.stop)
	}
	wg.Wait()
	return nil
}
