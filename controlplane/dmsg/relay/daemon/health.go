package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/dmsg/relay"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A health is the answer of /health. The first two are as the deployed software has
// them.
type health struct {
	BuildInfo         buildInfo     `json:"build_info"`
	StartedAt         time.Time     `json:"started_at"`
	PublicKey         cipher.PubKey `json:"public_key"`
	PublicAddress     string        `json:"public_address,omitempty"`
	Sessions          int           `json:"sessions"`
	AvailableSessions int           `json:"available_sessions"`
}

type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
}

// pages serves /health and /metrics.
type pages struct {
	srv     *relay.Server
	cfg     *Config
	version string
	started time.Time
}

func (p *pages) handle(rc *fasthttp.RequestCtx) {
	switch {
	case !rc.IsGet() && !rc.IsHead():
		rc.Error("want GET", fasthttp.StatusMethodNotAllowed)
	case string(rc.Path()) == "/health":
		p.health(rc)
	case string(rc.Path()) == "/metrics":
		rc.SetContentType("text/plain; version=0.0.4; charset=utf-8")
		rc.SetBodyString(metrics(p.srv.Snapshot(), p.cfg.MaxSessions))
	default:
		rc.Error("there are /health and /metrics", fasthttp.StatusNotFound)
	}
}

func (p *pages) health(rc *fasthttp.RequestCtx) {
	n := p.srv.Snapshot().Sessions
	body, err := json.Marshal(health{
		BuildInfo: buildInfo{Version: p.version}, StartedAt: p.started, PublicKey: p.srv.PubKey(),
		PublicAddress: p.cfg.PublicAddress, Sessions: n, AvailableSessions: max(0, p.cfg.MaxSessions-n),
	})
	if err != nil {
		rc.Error(err.Error(), fasthttp.StatusInternalServerError)
		return
	}
	rc.SetContentType("application/json")
	rc.SetBody(body)
}

// metrics returns the counters in the text format of Prometheus.
func metrics(s relay.Snapshot, capacity int) string {
	var b strings.Builder
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	one := func(name, kind, help string, n uint64) {
		family(name, kind, help)
		fmt.Fprintf(&b, "%s %d\n", name, n)
	}
	one("skydmsg_sessions", "gauge", "Clients with a session now.", uint64(s.Sessions))
	one("skydmsg_sessions_max", "gauge", "Sessions that the relay takes.", uint64(capacity))
	one("skydmsg_streams", "gauge", "Streams between clients now.", uint64(max(0, s.Streams)))
	one("skydmsg_handshakes", "gauge", "Session handshakes under way.", uint64(s.Handshakes))
	one("skydmsg_sessions_total", "counter", "Sessions that began.", s.Admitted)
	one("skydmsg_dials_total", "counter", "Streams that were set up.", s.Dials)
	one("skydmsg_received_bytes_total", "counter", "Bytes of frames that clients sent.", s.BytesIn)
	for _, f := range []struct{ kind, name, help string }{
		{"refused", "skydmsg_refused_total", "Connections that got no session, by reason."},
		{"ended", "skydmsg_ended_total", "Sessions that ended, by reason; violation_… is the client's breach of the protocol."},
		{"reset", "skydmsg_reset_total", "Streams that were not set up or were reset by the relay, by reason."},
	} {
		family(f.name, "counter", f.help)
		relay.Reasons(func(r relay.Reason) {
			if r.Kind() == f.kind {
				fmt.Fprintf(&b, "%s{reason=%q} %d\n", f.name, r, s.Count(r))
			}
		})
	}
	return b.String()
}
