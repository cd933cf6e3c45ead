package setup

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A ClientConfig describes a Client.
type ClientConfig struct {
	Key    *cipher.StaticKey
	Table  Table
	LinkUp func(forward.Neighbour) bool // LinksOf
	Nodes  []NodeAddr                   // SetNodes changes them
	Now    func() time.Time             // nil: time.Now
	Log    zerolog.Logger
}

// A NodeAddr is a setup node and the transport for dmsg URLs by which it is reached.
type NodeAddr struct {
	PK        cipher.PubKey
	Transport http.RoundTripper
}

// A Request says which route is wanted.
type Request struct {
	Path  []Step // from the first neighbour to the destination
	Class uint32
	Mux   bool // the destination too is to spread over the routes of this class
	// Turn makes a route that turns at the last step and leads back, to measure a path.
	Turn bool
	TTL  time.Duration // of each rule without a probe; 0: DefaultTTL
	// Not are setup nodes that are not to be asked.
	Not []cipher.PubKey
}

// A Route is what came of a Request: the labels that the source needs.
type Route struct {
	Node     cipher.PubKey // who set it up
	Out      forward.Neighbour
	OutLabel packet.Label // what Out gave out
	In       forward.Neighbour
	InLabel  packet.Label // reserved here: AddRoute or Release takes it
	TTL      time.Duration
}

// A Client asks setup nodes for routes. Its methods may be called concurrently.
type Client struct{}

// NewClient returns a Client.
func NewClient(cfg ClientConfig) (*Client, error) { return nil, errors.New("not yet") }

// SetNodes replaces the setup nodes, in the order in which they are asked.
func (c *Client) SetNodes(nodes []NodeAddr) {}

// Warm opens streams to the setup nodes, so that the next Establish finds them open. It
// returns when all have answered or ctx has ended.
func (c *Client) Warm(ctx context.Context) {}

// Establish has the route made, within 5 s: it asks the setup nodes in turn, the next
// one where one refuses or has not answered for 300 ms, and takes the first answer. What
// slower ones made is taken back.
//
// Errors: *Error, with the visor where it failed; ErrNoNode; those of ctx.
func (c *Client) Establish(ctx context.Context, req Request) (Route, error) {
	return Route{}, errors.New("not yet")
}
