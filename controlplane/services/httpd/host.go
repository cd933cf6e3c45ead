package httpd

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Service is what a Host serves. Where it is also a MetricsWriter or a Reporter,
// its /metrics and /health say more.
type Service interface {
	// Handler returns the handler of the service's own paths for connections of one
	// kind. Under a prefix it sees rc.Path() without that; the header's RequestURI,
	// which callers have signed, is as it came. /health and /metrics, counting and
	// the limits of a Mount are the host's.
	Handler(over Over) fasthttp.RequestHandler
	// Run does what the service does in the background until ctx ends. It calls
	// ready once the service can answer: nobody is served before. An error before
	// ctx ends stops the host.
	Run(ctx context.Context, ready func()) error
}

// A MetricsWriter adds to /metrics, in the text format of Prometheus.
type MetricsWriter interface{ WriteMetrics(w io.Writer) }

// A Reporter adds to /health.
type Reporter interface{ Report(*Health) }

// A Mount is a service and its place in a host.
type Mount struct {
	Name    string // one word, for metrics and logs
	Prefix  string // of its paths: "/tpd"; "" is the root, behind all others
	Service Service
	Limits  Limits
}

// Limits bound what one source, an IPv4 address, an IPv6 /64 or a key over dmsg,
// may ask of a service; 0 is no limit.
type Limits struct {
	Reads  float64 `json:"reads_per_second"`  // GET and HEAD; bursts of 5 times that
	Writes float64 `json:"writes_per_second"` // all else; bursts of 50 times that
}

// DefaultLimits returns what suits a public network: many visors may stand behind
// one address.
func DefaultLimits() Limits { return Limits{Reads: 200, Writes: 20} }

// HostOptions are what a host takes besides its mounts.
type HostOptions struct {
	Version string
	Now     func() time.Time
	Log     zerolog.Logger
}

// What one source may ask of /health and /metrics, per second and at once: what
// watches a service comes every few seconds.
const (
	pagesRate  = 10
	pagesBurst = 100
)

// A DmsgInfo says where on dmsg a host is.
type DmsgInfo struct {
	Address string // "<pk>:<port>"
	Servers []cipher.PubKey
}

// A Host serves services over TCP and over dmsg: on one port, each under its
// prefix, with what all of them have in common. All methods may be called
// concurrently.
type Host struct {
	o       HostOptions
	mounts  []*mount
	pages   *Limiter // of /health and /metrics
	started time.Time

	mu   sync.Mutex
	dmsg func() DmsgInfo // nil: not on dmsg
}

// NewHost returns a host of mounts. Serve it with Run.
func NewHost(o HostOptions, mounts ...Mount) *Host {
	now := o.Now()
	h := &Host{o: o, started: now, pages: NewLimiter(pagesRate, pagesBurst, now)}
	for _, m := range mounts {
		h.mounts = append(h.mounts, newMount(m, h.started))
	}
	return h
}

// SetDmsg makes /health say where on dmsg the host is.
func (h *Host) SetDmsg(info func() DmsgInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dmsg = info
}

// Run runs the services and, once all of them are ready, serves l, which it closes,
// until ctx ends. up, if it is not nil, is called when l is served.
func (h *Host) Run(ctx context.Context, l net.Listener, up func()) error {
	defer l.Close()
	g, ctx := errgroup.WithContext(ctx)
	var waiting sync.WaitGroup
	for _, m := range h.mounts {
		waiting.Add(1)
		ready := sync.OnceFunc(waiting.Done)
		g.Go(func() error {
			defer ready()
			if err := m.Service.Run(ctx, ready); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		waiting.Wait()
		select {
		case <-ctx.Done():
			return nil // one of them was not to be
		default:
		}
		if up != nil {
			up()
		}
		return Serve(ctx, NewServer(serverName, h.Handler(OverTCP), h.o.Log), l)
	})
	return g.Wait()
}

// ServeDmsg serves a dmsg listener, whose connections have "<pk>:<port>" as their
// remote addresses, until ctx ends. It closes l. Run must be running.
func (h *Host) ServeDmsg(ctx context.Context, l net.Listener) error {
	return Serve(ctx, NewServer(serverName, h.Handler(OverDmsg), h.o.Log), l)
}

const serverName = "skywire"
