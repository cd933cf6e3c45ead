package deployment

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Uptime is a visor's record at an uptime tracker.
type Uptime struct {
	PK      cipher.PubKey     `json:"pk"`
	Up      float64           `json:"up"`   // seconds
	Down    float64           `json:"down"` // seconds
	Pct     float64           `json:"pct"`
	On      bool              `json:"on"`
	Version string            `json:"version,omitempty"`
	Daily   map[string]string `json:"daily,omitempty"` // 2006-01-02 (UTC) → percent
}

// An UptimeQuery selects uptimes.
type UptimeQuery struct {
	Visors []cipher.PubKey // none: all
	Status string          // "on", "off" or "": both
	Daily  bool            // with Uptime.Daily (v=v2)
	// Start and End are months, 2006-01; "": the present one.
	Start, End string
}

// An UptimeTracker is the client of one. It may be used concurrently.
type UptimeTracker struct {
	url string
	c   *Caller
}

// NewUptimeTracker returns a client for the service at url.
func NewUptimeTracker(url string, c *Caller) *UptimeTracker { return &UptimeTracker{url, c} }

// Update says that the caller is up; each five minutes.
func (u *UptimeTracker) Update(ctx context.Context, in Instance, version string) error {
	return u.c.doAs(ctx, http.MethodGet, u.url, in, func(self Instance) (string, any) {
		q := url.Values{"version": {version}, "instance": {self.ID}, "started": {strconv.FormatInt(self.Started, 10)}}
		return "/v4/update?" + q.Encode(), nil
	}, nil)
}

// Uptimes lists uptimes.
func (u *UptimeTracker) Uptimes(ctx context.Context, uq UptimeQuery) ([]Uptime, error) {
	q := url.Values{}
	if uq.Daily {
		q.Set("v", "v2")
	}
	if len(uq.Visors) > 0 {
		keys := make([]string, len(uq.Visors))
		for i, pk := range uq.Visors {
			keys[i] = pk.String()
		}
		q.Set("visors", strings.Join(keys, ","))
	}
	for name, v := range map[string]string{"status": uq.Status, "startDate": uq.Start, "endDate": uq.End} {
		if v != "" {
			q.Set(name, v)
		}
	}
	path := "/uptimes"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	l := list[Uptime]{least: leastUptime}
	err := u.c.do(ctx, request{method: http.MethodGet, base: u.url, path: path, out: &l, limit: maxList})
	return l.all, err
}
