package dmsgdisc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Options say how a discovery behaves. Start from DefaultOptions.
type Options struct {
	// Testing allows servers at loopback addresses.
	Testing bool
	// Official are the servers that are given out as official, all others being
	// community; so is one that names AuthPassphrase as its serverType, as deployed
	// servers do. It travels in the clear: prefer Official. "" matches nothing.
	Official       []cipher.PubKey
	AuthPassphrase string
	// Monitors may deregister others' entries. The way in which deployed monitors
	// prove their key over HTTP can be replayed by whoever sees it once, so
	// MonitorsDmsgOnly takes them over dmsg only.
	Monitors         []cipher.PubKey
	MonitorsDmsgOnly bool

	// ServerTTL is how long an entry with a server lives; servers publish each minute.
	ServerTTL time.Duration
	// ClientTTL is how long a client's entry lives once the client has shown that it
	// refreshes it. ShortTTL: where it asks for that. QuietTTL: where it does
	// neither; clients of 2024 publish only when their sessions change.
	ClientTTL, ShortTTL, QuietTTL time.Duration

	// MaxEntries bounds how many entries there are, 1 KB of heap each.
	MaxEntries int
	// Limits of one source: a key over dmsg, an IPv4 address, an IPv6 /64; rates per
	// second, 0 for none.
	ReadRate, WriteRate   float64
	ReadBurst, WriteBurst int
	// NewRate limits entries that are new, KeyRate what is published for one key.
	NewRate, KeyRate   float64
	NewBurst, KeyBurst int

	// Shared says that other instances write to the same store.
	Shared bool
	// Version is shown by /health of Host.
	Version string
	Now     func() time.Time
	Log     zerolog.Logger
}

// DefaultOptions returns what suits a public network.
func DefaultOptions() Options {
	return Options{
		ServerTTL: 2 * time.Minute, ClientTTL: time.Hour, ShortTTL: 3 * time.Minute, QuietTTL: 7 * 24 * time.Hour,
		MaxEntries: 200_000,
		ReadRate:   1000, ReadBurst: 5000,
		WriteRate: 20, WriteBurst: 1000,
		NewRate: 0.2, NewBurst: 1000,
		KeyRate: 10, KeyBurst: 100,
		Now: time.Now, Log: zerolog.Nop(),
	}
}

// Validate reports every fault of o.
func (o Options) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		ttl  time.Duration
	}{{"server", o.ServerTTL}, {"client", o.ClientTTL}, {"short", o.ShortTTL}, {"quiet client", o.QuietTTL}} {
		if d.ttl < time.Second || d.ttl > store.MaxTTL {
			errs = append(errs, fmt.Errorf("the %s TTL is %v; want 1s to %v", d.name, d.ttl, store.MaxTTL))
		}
	}
	if o.MaxEntries < 1 {
		errs = append(errs, fmt.Errorf("room for %d entries", o.MaxEntries))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("dmsgdisc: options: %w", errors.Join(errs...))
	}
	return nil
}

// A Service is a discovery over a store. All methods may be called concurrently.
type Service struct {
	o        Options
	log      zerolog.Logger
	store    store.Store
	mirror   *mirror
	lists    lists
	official map[cipher.PubKey]bool
	monitors map[cipher.PubKey]bool
	reads    *httpd.Limiter
	writes   *httpd.Limiter
	fresh    *httpd.Limiter // new entries, by source
	keys     *httpd.Limiter // by key
	lookups  chan struct{}  // places for look-ups in the store
	proofs   chan struct{}  // places for checks of signatures
	metrics  metrics
}

// New returns a discovery over st, which the caller closes after Run has ended.
func New(st store.Store, o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	now := o.Now()
	s := &Service{
		o: o, log: o.Log, store: st, mirror: newMirror(),
		official: setOf(o.Official), monitors: setOf(o.Monitors),
		reads:   httpd.NewLimiter(o.ReadRate, o.ReadBurst, now),
		writes:  httpd.NewLimiter(o.WriteRate, o.WriteBurst, now),
		fresh:   httpd.NewLimiter(o.NewRate, o.NewBurst, now),
		keys:    httpd.NewLimiter(o.KeyRate, o.KeyBurst, now),
		lookups: make(chan struct{}, maxLookups),
		proofs:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	return s, nil
}

func setOf(pks []cipher.PubKey) map[cipher.PubKey]bool {
	set := make(map[cipher.PubKey]bool, len(pks))
	for _, pk := range pks {
		set[pk] = true
	}
	return set
}

// sweepEvery is how often the mirror forgets what has expired.
const sweepEvery = 10 * time.Second

// Run implements httpd.Service: it reads the store and then follows it until ctx
// ends. It fails if the store cannot be read at the start.
func (s *Service) Run(ctx context.Context, ready func()) error {
	w, err := s.store.Watch(prefix)
	if err != nil {
		return fmt.Errorf("dmsgdisc: %w", err)
	}
	defer w.Close()
	if err := s.load(ctx); err != nil {
		return fmt.Errorf("dmsgdisc: read the store: %w", err)
	}
	s.log.Info().Int("entries", s.mirror.len()).Msg("entries are read")
	ready()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.follow(ctx, w) })
	g.Go(func() error {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				s.mirror.sweep(s.o.Now())
			}
		}
	})
	return g.Wait()
}

// Host returns a host of the discovery alone.
func (s *Service) Host() *httpd.Host {
	return httpd.NewHost(httpd.HostOptions{Version: s.o.Version, Now: s.o.Now, Log: s.log}, httpd.Mount{Name: "dmsgdisc", Service: s})
}
