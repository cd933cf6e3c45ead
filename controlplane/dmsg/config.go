package dmsg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// AllServers as Config.MinSessions keeps a session to every relay there is, as
// services do that everybody must reach.
const AllServers = -1

// Config says what a Client is. DefaultConfig fills in what has a default.
type Config struct {
	// SecKey is the client's identity. Required.
	SecKey cipher.SecKey
	// Directory is the discovery: where relays and peers are looked up and where the
	// client's own entry goes. Without one, Servers are all the relays there are, and a
	// peer is looked for on each of them.
	Directory disc.Directory
	// Servers are relays known beforehand: to begin with, and for the day on which the
	// discovery does not answer. Only Static and Server.Address of an entry matter.
	Servers []*disc.Entry
	// Services are keys that have sessions with all of Servers. They are dialled there
	// without a look-up, which a Directory needs that is itself reached over dmsg.
	Services []cipher.PubKey
	// MinSessions is how many relays to stay connected to, or AllServers.
	MinSessions int
	// ServerType restricts the relays that the client chooses, to "official" or
	// "community"; "" takes all. Pinned Servers are taken in any case, and so is the
	// relay of a peer.
	ServerType string
	// ClientType goes into the own entry: "visor", or "" for none.
	ClientType string
	// DialContext opens the connections to relays.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Budget bounds what all streams together may have buffered on receive. Several
	// clients of a process share one. Nil makes one from DefaultBudget.
	Budget *yamux.Budget
	// KeepAlive is how often an idle session is asked for a sign of life.
	KeepAlive time.Duration
	// Patience is how long a relay may take nothing, or leave that question unanswered,
	// before the session counts as dead.
	Patience time.Duration
	// OnEvent is told what happens to sessions and to the own entry. Calls come one at a
	// time, in order, and should not take long: the next one waits, the client does not.
	OnEvent func(Event)
	Log     zerolog.Logger
}

// DefaultConfig returns a Config that lacks a SecKey, and a Directory or Servers.
func DefaultConfig() Config {
	return Config{
		MinSessions: 2,
		DialContext: (&net.Dialer{}).DialContext,
		// Half of what the deployed software takes: a dead connection, after a laptop's
		// nap or a change of network, is noticed in that time.
		KeepAlive: 15 * time.Second,
		Patience:  10 * time.Second,
		Log:       zerolog.Nop(),
	}
}

// Validate reports all that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dmsg: "+format, args...)) }
	if err := c.SecKey.Validate(); err != nil {
		add("secret key: %w", err)
	}
	if c.Directory == nil && len(c.Servers) == 0 {
		add("neither a discovery nor a server is given")
	}
	for _, e := range c.Servers {
		switch {
		case e == nil || e.Server == nil || e.Server.Address == "":
			add("a pinned server has no address")
		case e.Static.Validate() != nil:
			add("pinned server %s: %w", e.Server.Address, e.Static.Validate())
		}
	}
	if c.MinSessions < 1 && c.MinSessions != AllServers {
		add("%d sessions are not enough: 1 or more, or all", c.MinSessions)
	}
	if c.DialContext == nil {
		add("no function to open connections with")
	}
	if c.KeepAlive <= 0 || c.Patience <= 0 {
		add("keep-alive of %v, patience of %v", c.KeepAlive, c.Patience)
	}
	return errors.Join(errs...)
}

// service reports whether pk is dialled by way of the pinned servers.
func (c *Config) service(pk cipher.PubKey) bool { return slices.Contains(c.Services, pk) }

// minBudget is the receive budget of a machine with little, or an unknown amount of,
// memory, in bytes.
const minBudget = 16 << 20

// DefaultBudget returns a sixteenth of the machine's memory, in bytes, but at least
// 16 MiB.
func DefaultBudget() int64 { return max(totalMemory()/16, minBudget) }
