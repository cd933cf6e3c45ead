package dmsgdisc

import (
	"net/http"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A health is the answer of /health.
type health struct {
	BuildInfo   buildInfo       `json:"build_info"`
	StartedAt   time.Time       `json:"started_at"`
	DmsgAddress string          `json:"dmsg_address,omitempty"`
	DmsgServers []cipher.PubKey `json:"dmsg_servers,omitempty"`
	// StoreLost is since when the store is gone.
	StoreLost time.Time `json:"store_lost_since,omitzero"`
}

type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
}

// health answers GET /health.
func (c *call) health() {
	h := health{BuildInfo: buildInfo{Version: c.s.o.Version}, StartedAt: c.s.started, StoreLost: c.s.mirror.isLost()}
	c.s.mu.Lock()
	info := c.s.dmsg
	c.s.mu.Unlock()
	if info != nil {
		d := info()
		h.DmsgAddress, h.DmsgServers = d.Address, d.Servers
	}
	c.json(http.StatusOK, mustJSON(h))
}
