package transport

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// A Manager keeps a visor's transports. All methods may be called concurrently.
//
// It comes before the link engine, whose configuration names its HandleSTUN and OnLink,
// is given engine and streams by Attach, and works while Run runs.
type Manager struct{ cfg Config }

var errNotYet = errors.New("transport: not yet")

// New returns a Manager.
//
// Errors: those of Config.Validate.
func New(cfg Config) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg}, nil
}

// Attach gives the Manager its links and streams. It is called once, before Run.
func (m *Manager) Attach(links Links, overlay Overlay) {}

// HandleSTUN is for link.Config.STUN: it takes a datagram, borrowed until it returns.
func (m *Manager) HandleSTUN(datagram []byte, from netip.AddrPort) {}

// OnLink is for link.Config.OnLink.
func (m *Manager) OnLink(l *link.Link, up bool, why error) {}

// Run keeps the transports until ctx ends; it then takes them out of the deployments, which
// it gives two seconds, and returns nil.
func (m *Manager) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Apply replaces the settings.
func (m *Manager) Apply(s Settings) error { return errNotYet }

// Ensure returns nil when there is a link to pk that is up, whatever its type. Where there
// is none, STCPR and SUDPH are tried at the same time, and a link over dmsg a little later;
// a dmsg link is given up for a direct one as soon as there is one. It takes 10 s at the
// most.
//
// Errors: *EnsureError, which is an ErrNoWay; ErrSelf; ErrClosed; ctx's.
func (m *Manager) Ensure(ctx context.Context, pk cipher.PubKey) error { return errNotYet }

// Add sets up a transport of that type, "" for whatever works, as Ensure does, and waits
// for it.
//
// Errors: those of Ensure; ErrExists, ErrType. A persistent one is kept whatever the
// error, unless that is ErrExists, ErrType or ErrSelf.
func (m *Manager) Add(ctx context.Context, pk cipher.PubKey, typ string, o Options) (Info, error) {
	return Info{}, errNotYet
}

// Remove ends a transport, and takes it out of the deployments.
//
// Errors: ErrNotFound.
func (m *Manager) Remove(id deployment.TransportID) error { return errNotYet }

// RemovePeer ends the transports of that type to pk, all of them if typ is "".
//
// Errors: ErrNotFound.
func (m *Manager) RemovePeer(pk cipher.PubKey, typ string) error { return errNotYet }

// List returns the transports, by key and type.
func (m *Manager) List() []Info { return nil }

// Members says how the visor stands with its deployments.
func (m *Manager) Members() []MemberInfo { return nil }

// Reach asks the STUN servers how the visor is seen from outside. It takes 2 s at the most.
func (m *Manager) Reach(ctx context.Context) Reach { return Reach{NAT: NATUnknown} }

// NetworkChanged has everything looked at now: links, relays, addresses, registrations. The
// Manager does so itself when the system tells of a change.
func (m *Manager) NetworkChanged(within time.Duration) {}
