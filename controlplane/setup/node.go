package setup

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A NodeConfig describes a Node.
type NodeConfig struct {
	Key cipher.PubKey // this node, as its dmsg client has it
	// Transport makes requests for dmsg URLs (dmsghttp.NewTransport) and keeps its
	// streams for the next ones.
	Transport http.RoundTripper
	Limits    NodeLimits
	Now       func() time.Time // nil: time.Now
	Log       zerolog.Logger
}

// NodeLimits bound what one source may ask of a Node.
type NodeLimits struct {
	Rate       float64 // routes per second
	Burst      int     // routes at once, before Rate counts
	Concurrent int     // set-ups under way
	Sources    int     // sources remembered
}

// DefaultNodeLimits are generous to a visor and stop a flood.
func DefaultNodeLimits() NodeLimits {
	return NodeLimits{Rate: 50, Burst: 500, Concurrent: 32, Sources: 1 << 16}
}

// A Node is a setup node. Its methods may be called concurrently.
type Node struct{}

// NewNode returns a Node that answers through Handler or Serve.
func NewNode(cfg NodeConfig) (*Node, error) { return nil, errors.New("not yet") }

// Handler serves requests whose RemoteAddr is the proven "<pk>:<port>" of the caller,
// as dmsg listeners have it.
func (n *Node) Handler() http.Handler { return nil }

// Serve answers on ln, a dmsg listener on NodePort, until ctx ends. It may run for
// several listeners.
func (n *Node) Serve(ctx context.Context, ln net.Listener) error { return errors.New("not yet") }
