package setup

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
)

// A HopConfig describes a Hop.
type HopConfig struct {
	Key      cipher.PubKey // this visor
	Table    Table
	Sessions Sessions
	LinkUp   func(forward.Neighbour) bool // LinksOf
	Nodes    []cipher.PubKey              // setup nodes that are obeyed; SetNodes changes them
	Limits   HopLimits
	Now      func() time.Time // nil: time.Now
	Log      zerolog.Logger
}

// HopLimits bound what one setup node may do at a Hop.
type HopLimits struct {
	Labels   int           // labels given out, reserved and in use
	Reserved int           // of these, labels that are reserved only
	MaxTTL   time.Duration // of rules without a probe
}

// DefaultHopLimits let one node have 4096 routes through a visor.
func DefaultHopLimits() HopLimits {
	return HopLimits{Labels: 8192, Reserved: 1024, MaxTTL: MaxTTL}
}

// A Hop is a visor's side of route set-up. Its methods may be called concurrently.
type Hop struct{}

// NewHop returns a Hop that answers through Handler or Serve.
func NewHop(cfg HopConfig) (*Hop, error) { return nil, errors.New("not yet") }

// SetNodes replaces the setup nodes that are obeyed. What others installed stays until
// it expires.
func (h *Hop) SetNodes(nodes []cipher.PubKey) {}

// Handler serves requests whose RemoteAddr is the proven "<pk>:<port>" of the caller,
// as dmsg listeners have it.
func (h *Hop) Handler() http.Handler { return nil }

// Serve answers on ln, a dmsg listener on HopPort, until ctx ends. It may run for
// several listeners.
func (h *Hop) Serve(ctx context.Context, ln net.Listener) error { return errors.New("not yet") }
