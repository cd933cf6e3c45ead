package deployment

import (
	"context"
	"fmt"
	"net/http"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// PathsRequest is the body of POST /routes. Deployed visors send Edges and, in Opts,
// MinHops and MaxHops only.
type PathsRequest struct {
	Edges []string   `json:"Edges"` // "<source>:<destination>"
	Opts  *PathsOpts `json:"Opts"`
}

// PathsOpts are the options of a PathsRequest, as in graph.Query.
type PathsOpts struct {
	MinHops  int             `json:"MinHops"`
	MaxHops  int             `json:"MaxHops"`
	K        int             `json:"K,omitempty"` // 0: 5, as deployed
	Avoid    []cipher.PubKey `json:"Avoid,omitempty"`
	Prefer   []cipher.PubKey `json:"Prefer,omitempty"`
	Types    []string        `json:"Types,omitempty"`
	Disjoint bool            `json:"Disjoint,omitempty"` // leave paths out that share a key with a cheaper one
}

// A PathHop is a graph.Hop on the wire.
type PathHop struct {
	TpID TransportID   `json:"TpID"`
	From cipher.PubKey `json:"From"`
	To   cipher.PubKey `json:"To"`
	Type string        `json:"Type,omitempty"` // deployed route finders do not say
}

// PathsReply is the answer: the paths of each pair, the cheapest first. A deployed
// visor reads no more than their hops.
type PathsReply map[string][][]PathHop

// maxPaths is the most bytes of an answer: the most paths of the most hops take 60 KiB.
// In memory a hop of nothing, {}, takes 30 times as much.
const maxPaths = 256 << 10

// A RouteFinder is the client of one. It may be used concurrently.
type RouteFinder struct {
	url string
	c   *Caller
}

// NewRouteFinder returns a client for the service at url.
func NewRouteFinder(url string, c *Caller) *RouteFinder { return &RouteFinder{url, c} }

// Paths asks for paths; it fails with ErrNotFound where there is none. The request is
// not signed: the service need not know who asks. A Path's Cost is its place in the
// answer, which is sorted: services do not say it.
func (r *RouteFinder) Paths(ctx context.Context, q graph.Query) ([]graph.Path, error) {
	pair := q.From.String() + ":" + q.To.String()
	rq := PathsRequest{Edges: []string{pair}, Opts: &PathsOpts{
		MinHops: q.MinHops, MaxHops: q.MaxHops, K: max(q.K, 1), Avoid: q.Avoid, Prefer: q.Prefer, Types: q.Types,
	}}
	reply := make(PathsReply)
	if err := r.c.do(ctx, request{method: http.MethodPost, base: r.url, path: "/routes", in: rq, out: &reply, limit: maxPaths}); err != nil {
		return nil, err
	}
	var paths []graph.Path
	for i, hops := range reply[pair] {
		p := graph.Path{Cost: float64(i + 1)}
		at := q.From
		seen := map[cipher.PubKey]bool{at: true}
		for _, h := range hops {
			if h.From != at || seen[h.To] || len(p.Hops) == graph.MaxHops {
				return nil, fmt.Errorf("deployment: route finder: %w: a path that does not hang together", ErrAnswer)
			}
			at = h.To
			seen[at] = true
			p.Hops = append(p.Hops, graph.Hop{ID: h.TpID, From: h.From, To: h.To, Type: h.Type})
		}
		if at != q.To {
			return nil, fmt.Errorf("deployment: route finder: %w: a path that leads elsewhere", ErrAnswer)
		}
		if paths = append(paths, p); len(paths) == max(q.K, 1) {
			break
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("deployment: route finder: %w", ErrNotFound.With("no path from "+q.From.Short()+" to "+q.To.Short()))
	}
	return paths, nil
}
