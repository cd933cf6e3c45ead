package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/transport/ice"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// A Manager keeps a visor's transports. All methods may be called concurrently.
//
// It comes before the link engine, whose configuration names its HandleSTUN and OnLink,
// is given engine and streams by Attach, and works while Run runs.
type Manager struct {
	cfg       Config
	pk        cipher.PubKey
	log       zerolog.Logger
	hub       *ice.Hub
	reflector *ice.Reflector
	offers    *limiter
	settles   *limiter
	hall      hall
	resolver  resolver

	// Set by Attach, before Run.
	plane    plane
	overlay  Overlay
	carriers []carrier
	deaf     bool // the system is not asked for changes of the network: in tests with a fake clock

	members []*member // as cfg.Members

	life context.Context // of what Run has started
	stop context.CancelFunc

	mu         sync.Mutex
	ended      bool
	wg         sync.WaitGroup
	settings   Settings
	news       chan struct{} // closed, and replaced, whenever something below changes
	transports map[key]*transport
	attempts   map[want]*attempt
	punches    map[cipher.PubKey]*punch
	wants      map[want]*wanted
	suspected  time.Time                   // when the relays were checked because a link died
	offered    time.Time                   // when links were checked because of an offer
	shunned    map[cipher.PubKey]time.Time // not for automatic transports, until then
}

// A key names a transport of ours.
type key struct {
	pk  cipher.PubKey
	typ link.Type
}

// A resolver turns names into addresses; *net.Resolver is one.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// New returns a Manager.
//
// Errors: those of Config.Validate.
func New(cfg Config) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	pk, err := cfg.SecKey.PubKey()
	if err != nil {
		return nil, fmt.Errorf("transport: secret key: %w", err)
	}
	m := &Manager{
		cfg: cfg, pk: pk, log: cfg.Log, resolver: net.DefaultResolver,
		offers: newLimiter(10, 2*time.Second), settles: newLimiter(32, time.Second),
		hall:       hall{guests: map[cipher.PubKey]int{}},
		news:       make(chan struct{}),
		transports: map[key]*transport{}, attempts: map[want]*attempt{},
		punches: map[cipher.PubKey]*punch{}, wants: map[want]*wanted{},
		shunned: map[cipher.PubKey]time.Time{},
	}
	m.life, m.stop = context.WithCancel(context.Background())
	var servers []string
	for _, c := range cfg.Members {
		m.members = append(m.members, newMember(m, c))
		servers = append(servers, c.STUN...)
		if c.Dmsg != nil {
			m.carriers = append(m.carriers, client{c.Dmsg})
		}
	}
	m.hub = ice.NewHub(writer{m})
	m.reflector = ice.NewReflector(m.hub, servers, m.resolver)
	m.apply(cfg.Settings)
	return m, nil
}

// writer is the engine's socket, which comes after the Hub.
type writer struct{ m *Manager }

func (w writer) WriteSTUN(b []byte, to netip.AddrPort) error { return w.m.plane.WriteSTUN(b, to) }

// Attach gives the Manager its links and streams. It is called once, before Run.
func (m *Manager) Attach(links Links, overlay Overlay) {
	m.plane, m.overlay = engine{links}, overlay
}

// HandleSTUN is for link.Config.STUN: it takes a datagram, borrowed until it returns.
func (m *Manager) HandleSTUN(datagram []byte, from netip.AddrPort) { m.hub.Handle(datagram, from) }

// OnLink is for link.Config.OnLink.
func (m *Manager) OnLink(l *link.Link, up bool, why error) {
	m.linkChanged(key{l.Peer(), l.Type()}, l.Info().Outbound, up, why)
}

// Run keeps the transports until ctx ends; it then takes them out of the deployments, which
// it gives two seconds, and returns nil. The links stay; they are the engine's.
func (m *Manager) Run(ctx context.Context) error {
	closers := m.listen()
	m.start(m.keep)
	if !m.deaf {
		m.start(func() { m.watch(m.life) })
	}
	m.start(func() { _, _ = m.reflector.Mapped(m.life) }) // the first offer need not wait for it
	for _, d := range m.members {
		m.start(func() { d.register(m.life) })
		m.start(func() { d.bind(m.life) })
		m.start(func() { d.automate(m.life) })
	}
	<-ctx.Done()
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	for _, c := range closers {
		c()
	}
	m.stop()
	m.reflector.Close()
	m.wg.Wait()
	m.farewell()
	return nil
}

// listen opens what others call, and returns what closes it.
func (m *Manager) listen() (closers []func()) {
	for _, c := range m.carriers {
		l, err := c.listen(SignalPort)
		if err != nil {
			m.log.Error().Err(err).Msg("no offers of SUDPH links are taken")
			continue
		}
		m.start(func() { m.serveSignals(l) })
		closers = append(closers, func() { l.Close() })
	}
	if m.overlay == nil {
		return closers
	}
	l, err := m.overlay.Listen(SettlePort)
	if err != nil {
		m.log.Error().Err(err).Msg("transports that others open are not registered")
		return closers
	}
	return append(closers, m.serveSettlements(l))
}

// start runs f in a goroutine that Run waits for. It reports false, and does not run f,
// once Run is over.
func (m *Manager) start(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return false
	}
	m.wg.Go(f)
	return true
}

// shout wakes all who wait for news. mu is held.
func (m *Manager) shout() {
	close(m.news)
	m.news = make(chan struct{})
}

// accepts reports whether pk may learn our addresses.
func (m *Manager) accepts(pk cipher.PubKey) bool { return m.cfg.Accept == nil || m.cfg.Accept(pk) }
