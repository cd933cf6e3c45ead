// Package routefinder finds paths between visors over the transports that a transport
// discovery lists. The graph is in memory and follows the discovery's changes; no
// request reads a store.
package routefinder

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

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/transportdisc"
	"github.com/skyminer/skywire/controlplane/store"
)

// Options say how a route finder behaves. Start from DefaultOptions.
type Options struct {
	// Index is that of a transport discovery in the same process, which runs it; nil:
	// the route finder makes its own over the store.
	Index *transportdisc.Index
	// Places is how many requests are worked on at once; others wait for up to Wait. They
	// should be many for each processor: on a busy machine who is given a place that
	// another left gets to use it only milliseconds later.
	Places int
	Wait   time.Duration
	Now    func() time.Time
	Log    zerolog.Logger
}

// DefaultOptions returns what suits a public network.
func DefaultOptions() Options {
	return Options{Places: 16 * runtime.GOMAXPROCS(0), Wait: 3 * time.Second, Now: time.Now, Log: zerolog.Nop()}
}

// Validate reports every fault of o.
func (o Options) Validate() error {
	var errs []error
	if o.Places < 1 || o.Wait <= 0 {
		errs = append(errs, fmt.Errorf("%d places, and a wait of %v for one", o.Places, o.Wait))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("routefinder: options: %w", errors.Join(errs...))
	}
	return nil
}

// A Service is a route finder. All methods may be called concurrently.
type Service struct {
	o      Options
	index  *transportdisc.Index
	graph  *graph.Graph
	places chan struct{}

	updating sync.Mutex // held by who gives the graph changes; taken before mu
	given    []graph.Change

	mu      sync.Mutex
	pending []graph.Change // that graph does not have yet
}

var (
	_ httpd.Service       = (*Service)(nil)
	_ httpd.Reporter      = (*Service)(nil)
	_ httpd.MetricsWriter = (*Service)(nil)
)

// New returns a route finder over what transport discoveries keep in st, which the
// caller closes after Run has ended. With o.Index, st is not used.
func New(st store.Store, o Options) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Service{o: o, index: o.Index, graph: graph.New(), places: make(chan struct{}, o.Places)}
	if s.index == nil {
		s.index = transportdisc.NewIndex(st, o.Now, o.Log)
	}
	s.index.Listen(s.changed)
	return s, nil
}

// maxPending is how many changes wait for the next query.
const maxPending = 4096

// changed takes a change of what is listed. The graph gets it with the next query: the
// discovery must not wait for queries under way, nor each query for a change.
func (s *Service) changed(t deployment.Transport, stats *deployment.TransportStats, listed bool) {
	c := graph.Change{Edge: graph.Edge{ID: t.ID}, Gone: !listed}
	if listed {
		c.Edge = graph.Edge{ID: t.ID, A: t.Edges[0], B: t.Edges[1], Type: t.Type, Cost: deployment.Cost(t.Type, stats)}
	}
	s.mu.Lock()
	s.pending = append(s.pending, c)
	many := len(s.pending) >= maxPending
	s.mu.Unlock()
	if many {
		s.current()
	}
}

// current returns the graph with all changes, but for those that somebody else gives it
// just now: queries that wait for each other in a row would never catch up.
func (s *Service) current() *graph.Graph {
	if !s.updating.TryLock() {
		return s.graph
	}
	defer s.updating.Unlock()
	s.mu.Lock()
	s.given, s.pending = s.pending, s.given[:0]
	s.mu.Unlock()
	if len(s.given) > 0 {
		s.graph.Update(s.given)
		clear(s.given)
	}
	return s.graph
}

// Run implements httpd.Service.
func (s *Service) Run(ctx context.Context, ready func()) error {
	if s.o.Index == nil {
		return s.index.Run(ctx, ready)
	}
	ready()
	<-ctx.Done()
	return nil
}

// Report implements httpd.Reporter.
func (s *Service) Report(h *httpd.Health) { h.StoreLost = s.index.Lost() }

// WriteMetrics implements httpd.MetricsWriter.
func (s *Service) WriteMetrics(w io.Writer) {
	keys, edges := s.current().Size()
	metrics.WriteGaugeUint64(w, "skywire_rf_keys", uint64(keys))
	metrics.WriteGaugeUint64(w, "skywire_rf_edges", uint64(edges))
}
