package transportdisc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Options say how a transport discovery behaves. Start from DefaultOptions.
type Options struct {
	Verifier *httpauth.Verifier
	// Monitors may deregister others' transports, by signed requests.
	Monitors []cipher.PubKey
	// TTL is how long a visor is taken for alive after a heartbeat; they come each
	// minute. OldTTL is how long a transport of deployed visors is listed.
	TTL, OldTTL time.Duration
	// MaxPerKey bounds the transports of one key, MaxHalves what all keys have
	// registered, some 500 bytes of memory each.
	MaxPerKey, MaxHalves int
	// KeyRate and KeyBurst limit the writes of one key per second, NewRate and NewBurst
	// the transports that one source (a key over dmsg, an IPv4 address, an IPv6 /64)
	// brings that were not there before; a rate of 0 limits nothing.
	KeyRate, NewRate   float64
	KeyBurst, NewBurst int
	Now                func() time.Time
	Log                zerolog.Logger
}

// DefaultOptions returns what suits a public network; it lacks a Verifier.
func DefaultOptions() Options {
	return Options{
		TTL: 3 * time.Minute, OldTTL: 24 * time.Hour,
		MaxPerKey: 512, MaxHalves: 500_000,
		KeyRate: 2, KeyBurst: 60, NewRate: 50, NewBurst: 20_000,
		Now: time.Now, Log: zerolog.Nop(),
	}
}

// Validate reports every fault of o.
func (o Options) Validate() error {
	var errs []error
	if o.Verifier == nil {
		errs = append(errs, errors.New("no verifier of requests"))
	}
	for _, d := range []struct {
		name string
		ttl  time.Duration
	}{{"TTL", o.TTL}, {"TTL of deployed visors' transports", o.OldTTL}} {
		if d.ttl < time.Second || d.ttl > store.MaxTTL {
			errs = append(errs, fmt.Errorf("the %s is %v; want 1s to %v", d.name, d.ttl, store.MaxTTL))
		}
	}
	if o.MaxPerKey < 1 || o.MaxPerKey > 4*maxHalves || o.MaxHalves < 1 {
		errs = append(errs, fmt.Errorf("room for %d transports of a key and %d in all", o.MaxPerKey, o.MaxHalves))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("transportdisc: options: %w", errors.Join(errs...))
	}
	return nil
}

// A Service is a transport discovery over a store. All methods may be called
// concurrently.
type Service struct {
	o        Options
	index    *Index
	all      list
	keys     *httpd.Limiter // writes, by key
	fresh    *httpd.Limiter // new transports, by source
	proofs   chan struct{}  // places for checks of signatures
	monitors map[cipher.PubKey]bool
	locks    [64]sync.Mutex // of the records of keys, by a bit of the key
}

var (
	_ httpd.Service       = (*Service)(nil)
	_ httpd.Reporter      = (*Service)(nil)
	_ httpd.MetricsWriter = (*Service)(nil)
)

// New returns a transport discovery over st, which the caller closes after Run has
// ended.
func New(st store.Store, o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	now := o.Now()
	s := &Service{
		o: o, index: NewIndex(st, o.Now, o.Log),
		keys:     httpd.NewLimiter(o.KeyRate, o.KeyBurst, now),
		fresh:    httpd.NewLimiter(o.NewRate, o.NewBurst, now),
		proofs:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		monitors: make(map[cipher.PubKey]bool),
	}
	for _, pk := range o.Monitors {
		s.monitors[pk] = true
	}
	return s, nil
}

// Index returns what the service knows, for others in the same process. It is right
// while Run runs.
func (s *Service) Index() *Index { return s.index }

// Run implements httpd.Service.
func (s *Service) Run(ctx context.Context, ready func()) error { return s.index.Run(ctx, ready) }

// Report implements httpd.Reporter.
func (s *Service) Report(h *httpd.Health) { h.StoreLost = s.index.Lost() }

// WriteMetrics implements httpd.MetricsWriter.
func (s *Service) WriteMetrics(w io.Writer) {
	n := s.index.Totals()
	metrics.WriteGaugeUint64(w, "skywire_tpd_visors", uint64(n.Visors))
	metrics.WriteGaugeUint64(w, "skywire_tpd_halves", uint64(n.Halves))
	for typ, count := range n.Types {
		metrics.WriteGaugeUint64(w, `skywire_tpd_transports{type="`+typ+`"}`, uint64(count))
	}
}

// lock serialises the writes to the records of pk in this process; other instances
// are met by conflicts.
func (s *Service) lock(pk cipher.PubKey) (unlock func()) {
	l := &s.locks[pk[len(pk)-1]%byte(len(s.locks))]
	l.Lock()
	return l.Unlock
}
