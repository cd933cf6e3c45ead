package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// A Discovery is where transports are registered; *deployment.TransportDiscovery is one.
type Discovery interface {
	Register(ctx context.Context, self deployment.Instance, entries []deployment.SignedTransport) (deployment.RegisterReply, error)
	Heartbeat(ctx context.Context, self deployment.Instance, stats []deployment.TransportStats) (unknown []deployment.TransportID, err error)
	Delete(ctx context.Context, id deployment.TransportID) error
	Edge(ctx context.Context, pk cipher.PubKey) ([]deployment.SignedTransport, error)
}

// A Resolver knows where visors accept STCPR links; *deployment.AddressResolver is one.
type Resolver interface {
	Bind(ctx context.Context, self deployment.Instance, b deployment.Bind) (deployment.Bound, error)
	Unbind(ctx context.Context) error
	Resolve(ctx context.Context, pk cipher.PubKey) (deployment.Record, error)
}

// A Directory lists public visors; *deployment.ServiceDiscovery is one.
type Directory interface {
	Services(ctx context.Context, f deployment.Filter) ([]deployment.Service, error)
	Register(ctx context.Context, s deployment.Service) (deployment.Service, error)
	Delete(ctx context.Context, addr deployment.ServiceAddr, typ string) error
}

var (
	_ Discovery = (*deployment.TransportDiscovery)(nil)
	_ Resolver  = (*deployment.AddressResolver)(nil)
	_ Directory = (*deployment.ServiceDiscovery)(nil)
)

// A Member is a deployment that the visor belongs to. A service that is nil is done
// without.
type Member struct {
	ID   cipher.PubKey // the deployment's key
	Name string
	Dmsg *dmsg.Client // carries the signalling; the Manager neither runs nor closes it
	TPD  Discovery
	AR   Resolver
	SD   Directory
	STUN []string // host:port
}

// Settings are what may change while the Manager runs, see [Manager.Apply].
type Settings struct {
	// Auto keeps transports to public visors and to their neighbours.
	Auto bool
	// Public lists the visor as one to which everybody may connect, wherever an address
	// resolver has reached it.
	Public bool
	// NoUpgrade leaves links as they came about: no direct link takes the place of one over
	// dmsg by itself.
	NoUpgrade bool
	// Table has STCPR addresses, host:port, that come before what a resolver says.
	Table map[cipher.PubKey]string
	// Persistent transports are wanted always.
	Persistent []Wanted
}

// A Wanted is a transport that is set up again whenever it is lost.
type Wanted struct {
	PK    cipher.PubKey
	Type  string // stcpr, sudph, dmsg; "" is whatever works
	Label string
}

// Config says what a Manager is made from.
type Config struct {
	SecKey  cipher.SecKey
	Members []Member
	// Instance tells this process from another with the same key.
	Instance deployment.Instance
	Version  string // of the visor, for the service discovery
	// Accept says whether pk may learn our addresses and set up transports; nil: everybody.
	// It is asked each time, and must be quick.
	Accept func(pk cipher.PubKey) bool
	// NetworkChanged, if not nil, is called when the network has changed, before anybody is
	// asked anything: connections that idle since before are of no use.
	NetworkChanged func()
	Settings       Settings
	Log            zerolog.Logger
}

// Validate reports all that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	if err := c.SecKey.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("transport: secret key: %w", err))
	}
	seen := map[cipher.PubKey]bool{}
	for _, m := range c.Members {
		if seen[m.ID] {
			errs = append(errs, fmt.Errorf("transport: deployment %s is listed twice", m.ID))
		}
		seen[m.ID] = true
	}
	return errors.Join(errs...)
}

// An Overlay is the network of streams by key and port; *netstack.Stack is one.
type Overlay interface {
	Dial(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error)
	Listen(port uint16) (net.Listener, error)
}

// Links is the link engine; *link.Engine is one.
type Links interface {
	AddLink(peer cipher.PubKey, typ link.Type, addr netip.AddrPort) (*link.Link, error)
	RemoveLink(peer cipher.PubKey, typ link.Type) error
	Retarget(peer cipher.PubKey, typ link.Type, addr netip.AddrPort) error
	Expect(peer cipher.PubKey, yes bool)
	Hurry(peer cipher.PubKey, typ link.Type)
	Links() []*link.Link
	WriteSTUN(b []byte, to netip.AddrPort) error
	Check(within time.Duration)
	UDPAddr() netip.AddrPort
	TCPAddr() netip.AddrPort
}
