package httpd

import (
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// A mount is a Mount at work.
type mount struct {
	Mount
	reads, writes *Limiter
	set           *metrics.Set
	seconds       *metrics.Histogram
}

func newMount(m Mount, now time.Time) *mount {
	out := &mount{
		Mount:  m,
		reads:  NewLimiter(m.Limits.Reads, max(1, int(5*m.Limits.Reads)), now),
		writes: NewLimiter(m.Limits.Writes, max(1, int(50*m.Limits.Writes)), now),
		set:    metrics.NewSet(),
	}
	out.seconds = out.set.NewHistogram("skywire_request_duration_seconds" + out.labels())
	return out
}

func (m *mount) labels() string { return `{service="` + m.Name + `"}` }

// takes says whether path is one of the mount's, and what it is there.
func (m *mount) takes(path string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, m.Prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	if rest == "" {
		rest = "/"
	}
	return rest, true
}

// Handler returns the handler of the whole tree for connections of one kind.
func (h *Host) Handler(over Over) fasthttp.RequestHandler {
	handlers := make([]fasthttp.RequestHandler, len(h.mounts))
	for i, m := range h.mounts {
		handlers[i] = m.Service.Handler(over)
	}
	return func(rc *fasthttp.RequestCtx) {
		path := string(rc.Path())
		best, rest := -1, ""
		for i, m := range h.mounts {
			if r, ok := m.takes(path); ok && (best < 0 || len(m.Prefix) > len(h.mounts[best].Prefix)) {
				best, rest = i, r
			}
		}
		if best < 0 {
			rest = path
		}
		page := rest == "/health" || rest == "/metrics" && over == OverTCP
		switch asks := rc.IsGet() || rc.IsHead(); {
		case page && asks && !h.pages.Allow(CallerOf(rc, over).Source(), h.o.Now()):
			tooMany(rc)
		case page && asks && rest == "/health":
			h.health(rc, best)
		case page && asks:
			h.metrics(rc)
		case page && best < 0:
			Refuse(rc, deployment.ErrMethod)
		case best < 0:
			Refuse(rc, deployment.ErrNotFound.With("no such path"))
		default:
			h.mounts[best].serve(rc, rest, handlers[best], over, h.o.Now)
		}
	}
}

func tooMany(rc *fasthttp.RequestCtx) {
	Refuse(rc, deployment.ErrRate.With("too many requests of one source"))
}

// serve answers a request of the mount's.
func (m *mount) serve(rc *fasthttp.RequestCtx, path string, handler fasthttp.RequestHandler, over Over, now func() time.Time) {
	at := now()
	limiter := m.writes
	if rc.IsGet() || rc.IsHead() || rc.IsOptions() {
		limiter = m.reads
	}
	if limiter.Allow(CallerOf(rc, over).Source(), at) {
		rc.URI().SetPath(path)
		handler(rc)
	} else {
		tooMany(rc)
	}
	m.seconds.Update(now().Sub(at).Seconds())
	m.set.GetOrCreateCounter(`skywire_requests_total{service="` + m.Name + `",code="` + strconv.Itoa(rc.Response.StatusCode()) + `"}`).Inc()
}
