// Package uptimetracker counts for how long visors are up: by the slot of 5 minutes,
// by the day of UTC, kept for years.
package uptimetracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/seat"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Prefix is the namespace in the store: ut/<2006-01>/<66 hex digits>.
const Prefix = "ut/"

func prefixOf(m month) string { return Prefix + m.String() + "/" }

// A Locator says where on earth an address is, nil if it does not know. It may be
// called concurrently.
type Locator interface {
	Locate(a netip.Addr) *deployment.Geo
}

// Options say how an uptime tracker behaves. Start from DefaultOptions.
type Options struct {
	Verifier *httpauth.Verifier
	Geo      Locator       // nil: the map stays empty
	Keep     time.Duration // how long the record of a month is kept after its last change
	// MaxVisors is how many visors there can be in a month. NewRate and NewBurst limit
	// those that one source (an IPv4 address, an IPv6 /64 or a key over dmsg) brings that
	// were not there before, per second; 0: no limit.
	MaxVisors int
	NewRate   float64
	NewBurst  int
	// Fresh is how old the lists that are given out may be.
	Fresh time.Duration
	// KeyRate and KeyBurst limit the updates of one key, per second; 0: no limit.
	KeyRate  float64
	KeyBurst int
	Now      func() time.Time
	Log      zerolog.Logger
}

// DefaultOptions returns what suits a public network; it lacks a Verifier.
func DefaultOptions() Options {
	return Options{Keep: 2 * 365 * 24 * time.Hour, Fresh: 30 * time.Second, MaxVisors: 200_000, NewRate: 0.1, NewBurst: 1000, KeyRate: 0.1, KeyBurst: 20, Now: time.Now, Log: zerolog.Nop()}
}

// Validate reports every fault of o.
func (o Options) Validate() error {
	var errs []error
	if o.Verifier == nil {
		errs = append(errs, errors.New("no verifier of requests"))
	}
	if o.Keep < 32*24*time.Hour || o.Keep > store.MaxTTL {
		errs = append(errs, fmt.Errorf("records are kept for %v; want a month to %v", o.Keep, store.MaxTTL))
	}
	if o.MaxVisors < 1 {
		errs = append(errs, fmt.Errorf("room for %d visors", o.MaxVisors))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("uptimetracker: options: %w", errors.Join(errs...))
	}
	return nil
}

// A Service is an uptime tracker over a store. All methods may be called
// concurrently.
type Service struct {
	o      Options
	st     store.Store
	keys   *httpd.Limiter // updates, by key
	news   *httpd.Limiter // of visors that were not there before, by source
	census census
	// places are those of lists that are being made: one of a year takes seconds.
	places chan struct{}

	mu     sync.Mutex
	months map[month]*list
}

var (
	_ httpd.Service       = (*Service)(nil)
	_ httpd.MetricsWriter = (*Service)(nil)
)

// New returns an uptime tracker over st, which the caller closes after Run has ended.
func New(st store.Store, o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	now := o.Now()
	return &Service{
		o: o, st: st, months: make(map[month]*list),
		keys: httpd.NewLimiter(o.KeyRate, o.KeyBurst, now), news: httpd.NewLimiter(o.NewRate, o.NewBurst, now),
		places: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}, nil
}

// Run implements httpd.Service.
func (s *Service) Run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

// updateTries is how often an update that met another one begins again.
const updateTries = 4

// Anybody can make keys and say once that they are up. So a record is kept for years
// only when its visor has been up for enough slots, an hour; before, for as long as brief.
const (
	enough = 12
	brief  = 48 * time.Hour
)

// update notes that pk, which calls from there, is up.
func (s *Service) update(ctx context.Context, pk cipher.PubKey, caller httpd.Caller, in deployment.Instance, version string) error {
	from := caller.Addr // not valid: over dmsg
	now := s.o.Now()
	if !s.keys.Allow(httpd.Source(pk), now) {
		return deployment.ErrRate
	}
	key := prefixOf(monthOf(now)) + pk.String()
	for try := 1; ; try++ {
		r := &record{}
		it, err := s.st.Get(ctx, key)
		switch {
		case err == nil:
			if r, err = decode(it.Value); err != nil {
				return err
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		case try == 1:
			if err := s.admit(ctx, caller, now); err != nil {
				return err
			}
		}
		held := r.Seat
		if !r.isOn(now) {
			held = seat.Seat{} // who was silent for so long has left
		}
		took, err := held.Take(in, seat.Class(from))
		if err != nil {
			return err
		}
		changed := r.Seat != took || version != "" && r.Version != version
		if r.Seat = took; version != "" {
			r.Version = version
		}
		if !r.mark(now) && !changed {
			return nil
		}
		if from.IsValid() && s.o.Geo != nil {
			r.Geo = s.o.Geo.Locate(from)
		}
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		keep := s.o.Keep
		if r.slots() < enough {
			keep = brief
		}
		_, err = s.st.Put(ctx, key, b, keep, store.IfVersion(it.Version))
		if err == nil || !errors.Is(err, store.ErrConflict) {
			return err
		}
		if try == updateTries {
			return deployment.ErrConflict.With("others update this key at the same time")
		}
	}
}

// A census is how many visors there are in a month.
type census struct {
	mu    sync.Mutex // held while they are counted
	month month
	at    time.Time // when they were; since then n is kept by adding
	n     int
}

// recount is how old a census gets: other instances add visors too.
const recount = time.Minute

// admit says whether there may be one more visor in the present month, and counts it.
func (s *Service) admit(ctx context.Context, caller httpd.Caller, now time.Time) error {
	if !s.news.Allow(caller.Source(), now) {
		return deployment.ErrRate
	}
	c := &s.census
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := monthOf(now); c.month != m || now.Sub(c.at) >= recount {
		n := 0
		for _, err := range store.All(ctx, s.st, prefixOf(m)) {
			if err != nil {
				return err
			}
			n++
		}
		c.month, c.at, c.n = m, now, n
	}
	if c.n >= s.o.MaxVisors {
		return deployment.ErrUnavailable.With("no room for more visors, try again later")
	}
	c.n++
	return nil
}

// enter takes a place to make a list, which the caller gives back.
func (s *Service) enter() error {
	late := time.NewTimer(placeWait)
	defer late.Stop()
	select {
	case s.places <- struct{}{}:
		return nil
	case <-late.C:
		return deployment.ErrUnavailable.With("too many ask for lists at the moment, try again later")
	}
}

// placeWait is how long who asks for a list may wait for a place.
const placeWait = 3 * time.Second

// WriteMetrics implements httpd.MetricsWriter.
func (s *Service) WriteMetrics(w io.Writer) {
	now := s.o.Now()
	var on, n uint64
	if records, err := s.load(context.Background(), monthOf(now)); err == nil {
		for _, r := range records {
			if n++; r.isOn(now) {
				on++
			}
		}
	}
	metrics.WriteGaugeUint64(w, "skywire_ut_visors", n)
	metrics.WriteGaugeUint64(w, "skywire_ut_visors_on", on)
}
