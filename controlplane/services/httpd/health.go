package httpd

import (
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Health is the answer of GET /health.
type Health struct {
	BuildInfo   BuildInfo       `json:"build_info"`
	StartedAt   time.Time       `json:"started_at"`
	DmsgAddress string          `json:"dmsg_address,omitempty"`
	DmsgServers []cipher.PubKey `json:"dmsg_servers,omitempty"`
	// StoreLost is since when the store is gone.
	StoreLost time.Time `json:"store_lost_since,omitzero"`
	// Services are those of a host that serves several.
	Services []string `json:"services,omitempty"`
}

// BuildInfo says what runs.
type BuildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
}

// health answers GET /health of a mount; below 0, of none.
func (h *Host) health(rc *fasthttp.RequestCtx, mount int) {
	out := Health{BuildInfo: BuildInfo{Version: h.o.Version}, StartedAt: h.started}
	h.mu.Lock()
	info := h.dmsg
	h.mu.Unlock()
	if info != nil {
		d := info()
		out.DmsgAddress, out.DmsgServers = d.Address, d.Servers
	}
	if len(h.mounts) > 1 {
		for _, m := range h.mounts {
			out.Services = append(out.Services, m.Name)
		}
	}
	if mount >= 0 {
		if r, ok := h.mounts[mount].Service.(Reporter); ok {
			r.Report(&out)
		}
	}
	JSON(rc, http.StatusOK, out)
}

// metrics answers GET /metrics with all that the host knows.
func (h *Host) metrics(rc *fasthttp.RequestCtx) {
	rc.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	w := rc.Response.BodyWriter()
	for _, m := range h.mounts {
		m.set.WritePrometheus(w)
		if mw, ok := m.Service.(MetricsWriter); ok {
			mw.WriteMetrics(w)
		}
	}
}
