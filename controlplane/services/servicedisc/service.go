// Package servicedisc lists the services that visors offer, VPN and proxies and
// public visors among them. Whoever registers one holds the key of its address; where
// on earth it is the service looks up by itself, or leaves open.
package servicedisc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/mirror"
	"github.com/skyminer/skywire/controlplane/store"
)

// Prefix is the namespace in the store: sd/<66 hex digits>:<port>/<type>.
const Prefix = "sd/"

// A Locator says where on earth an address is, nil if it does not know. It may be
// called concurrently.
type Locator interface {
	Locate(a netip.Addr) *deployment.Geo
}

// Options say how a service discovery behaves. Start from DefaultOptions.
type Options struct {
	Verifier *httpauth.Verifier
	Geo      Locator // nil: places stay open
	// TTL is how long a record lives; visors register again each minute.
	TTL time.Duration
	// PerKey is how many services one key may have, MaxServices how many there are.
	PerKey, MaxServices int
	// KeyRate and KeyBurst limit what one key writes, per second; 0: no limit.
	KeyRate  float64
	KeyBurst int
	Now      func() time.Time
	Log      zerolog.Logger
}

// DefaultOptions returns what suits a public network; it lacks a Verifier.
func DefaultOptions() Options {
	return Options{
		TTL: 3 * time.Minute, PerKey: 16, MaxServices: 200_000,
		KeyRate: 1, KeyBurst: 50,
		Now: time.Now, Log: zerolog.Nop(),
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
	if o.PerKey < 1 || o.MaxServices < 1 {
		errs = append(errs, fmt.Errorf("room for %d services, %d of one key", o.MaxServices, o.PerKey))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("servicedisc: options: %w", errors.Join(errs...))
	}
	return nil
}

// A Service is a service discovery over a store. All methods may be called
// concurrently.
type Service struct {
	o       Options
	records *mirror.Mirror[*deployment.Service]
	keys    *httpd.Limiter // writes, by key

	mu    sync.Mutex
	lists map[string]list // by type
}

var (
	_ httpd.Service       = (*Service)(nil)
	_ httpd.Reporter      = (*Service)(nil)
	_ httpd.MetricsWriter = (*Service)(nil)
)

// New returns a service discovery over st, which the caller closes after Run has
// ended.
func New(st store.Store, o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Service{
		o:       o,
		records: mirror.New(st, mirror.Options[*deployment.Service]{Prefix: Prefix, Decode: decode, Now: o.Now, Log: o.Log}),
		keys:    httpd.NewLimiter(o.KeyRate, o.KeyBurst, o.Now()),
		lists:   make(map[string]list),
	}, nil
}

func decode(_ string, b []byte) (*deployment.Service, error) {
	var s deployment.Service
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("servicedisc: record: %w", err)
	}
	return &s, nil
}

// Run implements httpd.Service.
func (s *Service) Run(ctx context.Context, ready func()) error { return s.records.Run(ctx, ready) }

// Report implements httpd.Reporter.
func (s *Service) Report(h *httpd.Health) { h.StoreLost = s.records.Lost() }

// WriteMetrics implements httpd.MetricsWriter.
func (s *Service) WriteMetrics(w io.Writer) {
	n := map[string]uint64{}
	for _, e := range s.records.All(nil) {
		switch t := e.Value.Type; t {
		case deployment.ServiceVPN, deployment.ServiceSkysocks, deployment.ServiceProxy, deployment.ServiceVisor:
			n[t]++
		default:
			n["other"]++ // types are strangers' words
		}
	}
	for _, t := range []string{deployment.ServiceVPN, deployment.ServiceSkysocks, deployment.ServiceProxy, deployment.ServiceVisor, "other"} {
		metrics.WriteGaugeUint64(w, `skywire_sd_services{type="`+t+`"}`, n[t])
	}
}
