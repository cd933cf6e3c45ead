// Package addressresolver tells visors where others listen for STCPR: at the address
// from which the service saw them, never at one that they claim, and only where a
// dial back found them.
package addressresolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/mirror"
	"github.com/skyminer/skywire/controlplane/store"
)

// Prefix is the namespace in the store: ar/stcpr/<66 hex digits>.
const Prefix = "ar/stcpr/"

// Options say how an address resolver behaves. Start from DefaultOptions.
type Options struct {
	Verifier *httpauth.Verifier
	// TTL is how long a record lives; visors bind again each minute.
	TTL time.Duration
	// Dial tries whether somebody listens at an address. It must end with ctx.
	Dial func(ctx context.Context, to netip.AddrPort) error
	// DialTimeout bounds one dial back and MaxDials how many are under way.
	DialTimeout time.Duration
	MaxDials    int
	// DialRate and DialBurst limit the dials back to one IPv4 address or IPv6 /64, per
	// second, KeyRate and KeyBurst the binds of one key; a rate of 0 limits nothing.
	DialRate, KeyRate   float64
	DialBurst, KeyBurst int
	MaxRecords          int
	Now                 func() time.Time
	Log                 zerolog.Logger
}

// DefaultOptions returns what suits a public network; it lacks a Verifier.
func DefaultOptions() Options {
	return Options{
		TTL:         3 * time.Minute,
		Dial:        dial,
		DialTimeout: 1500 * time.Millisecond, MaxDials: 256,
		DialRate: 2, DialBurst: 100, KeyRate: 1, KeyBurst: 20,
		MaxRecords: 200_000,
		Now:        time.Now, Log: zerolog.Nop(),
	}
}

// Validate reports every fault of o.
func (o Options) Validate() error {
	var errs []error
	if o.Verifier == nil {
		errs = append(errs, errors.New("no verifier of requests"))
	}
	if o.TTL < 10*time.Second || o.TTL > store.MaxTTL {
		errs = append(errs, fmt.Errorf("the TTL is %v; want 10s to %v", o.TTL, store.MaxTTL))
	}
	if o.Dial == nil || o.DialTimeout <= 0 || o.MaxDials < 1 {
		errs = append(errs, errors.New("no way to dial back"))
	}
	if o.MaxRecords < 1 {
		errs = append(errs, fmt.Errorf("room for %d records", o.MaxRecords))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("addressresolver: options: %w", errors.Join(errs...))
	}
	return nil
}

// dial opens a TCP connection and closes it.
func dial(ctx context.Context, to netip.AddrPort) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// A Service is an address resolver over a store. All methods may be called
// concurrently.
type Service struct {
	o       Options
	records *mirror.Mirror[*record]
	keys    *httpd.Limiter // binds, by key
	dials   *httpd.Limiter // dials back, by where to
	places  chan struct{}  // of dials under way
	bound   keyList
}

var (
	_ httpd.Service       = (*Service)(nil)
	_ httpd.Reporter      = (*Service)(nil)
	_ httpd.MetricsWriter = (*Service)(nil)
)

// New returns an address resolver over st, which the caller closes after Run has
// ended.
func New(st store.Store, o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	now := o.Now()
	return &Service{
		o: o,
		records: mirror.New(st, mirror.Options[*record]{
			Prefix: Prefix, Decode: decodeRecord, Now: o.Now, Log: o.Log,
		}),
		keys:   httpd.NewLimiter(o.KeyRate, o.KeyBurst, now),
		dials:  httpd.NewLimiter(o.DialRate, o.DialBurst, now),
		places: make(chan struct{}, o.MaxDials),
	}, nil
}

// Run implements httpd.Service.
func (s *Service) Run(ctx context.Context, ready func()) error { return s.records.Run(ctx, ready) }

// Report implements httpd.Reporter.
func (s *Service) Report(h *httpd.Health) { h.StoreLost = s.records.Lost() }

// WriteMetrics implements httpd.MetricsWriter.
func (s *Service) WriteMetrics(w io.Writer) {
	var n [3]uint64
	for _, e := range s.records.All(nil) {
		n[e.Value.Reach%3]++
	}
	for reach, name := range [...]string{unknown: "unknown", reachable: "yes", unreachable: "no"} {
		metrics.WriteGaugeUint64(w, `skywire_ar_records{reach="`+name+`"}`, n[reach])
	}
}
