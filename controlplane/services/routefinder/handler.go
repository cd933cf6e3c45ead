package routefinder

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Bounds of a request.
const (
	maxPairs = 8
	maxKeys  = 256 // to avoid, or to prefer
	maxTypes = 16
	// defaultK is how many paths deployed visors get, who do not say.
	defaultK = 5
)

// Handler implements httpd.Service: POST /routes. It asks nobody who he is.
func (s *Service) Handler(httpd.Over) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		if path := string(rc.Path()); path != "/routes" && path != "/routes/" {
			httpd.Refuse(rc, deployment.ErrNotFound.With("no such path"))
			return
		}
		if !rc.IsPost() {
			httpd.Refuse(rc, deployment.ErrMethod.With("method not allowed; POST the ends and options"))
			return
		}
		reply, err := s.routes(rc.PostBody())
		if err != nil {
			httpd.Fail(rc, err, s.o.Log)
			return
		}
		httpd.JSON(rc, http.StatusOK, reply)
	}
}

// routes answers a request. As at the deployed service, a pair without a path fails
// all of it.
func (s *Service) routes(body []byte) (deployment.PathsReply, error) {
	qs, err := parse(body)
	if err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer func() { <-s.places }()
	g := s.current()
	reply := make(deployment.PathsReply, len(qs))
	for _, q := range qs {
		var out [][]deployment.PathHop
		for _, p := range q.only(g.Paths(q.Query)) {
			hops := make([]deployment.PathHop, len(p.Hops))
			for i, h := range p.Hops {
				hops[i] = deployment.PathHop{TpID: h.ID, From: h.From, To: h.To, Type: h.Type}
			}
			out = append(out, hops)
		}
		if len(out) == 0 {
			return nil, deployment.ErrNotFound.With("no path from " + q.From.Short() + " to " + q.To.Short() + " within these bounds")
		}
		reply[q.pair] = out
	}
	return reply, nil
}

// enter takes a place, which the caller gives back.
func (s *Service) enter() error {
	select {
	case s.places <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(s.o.Wait)
	defer late.Stop()
	select {
	case s.places <- struct{}{}:
		return nil
	case <-late.C:
		return deployment.ErrUnavailable.With("too many requests at the moment, try again later")
	}
}

// A query is what is asked for one pair.
type query struct {
	graph.Query
	pair     string // as the caller wrote it
	disjoint bool
}

// only leaves paths out that have a key in common with one before, if that is wanted.
func (q *query) only(paths []graph.Path) []graph.Path {
	if !q.disjoint {
		return paths
	}
	used := make(map[cipher.PubKey]bool)
	direct := false
	return slices.DeleteFunc(paths, func(p graph.Path) bool {
		shares := len(p.Hops) == 1 && direct
		direct = direct || len(p.Hops) == 1
		for _, h := range p.Hops[1:] {
			shares = shares || used[h.From]
		}
		if !shares {
			for _, h := range p.Hops[1:] {
				used[h.From] = true
			}
		}
		return shares
	})
}

// parse reads a request.
func parse(body []byte) ([]query, error) {
	bad := func(format string, args ...any) ([]query, error) {
		return nil, deployment.ErrBadRequest.With(fmt.Sprintf(format, args...))
	}
	var rq deployment.PathsRequest
	if err := json.Unmarshal(body, &rq); err != nil {
		return bad(`the body is no {"Edges": ["<key>:<key>"], "Opts": {"MinHops": …, "MaxHops": …}}`)
	}
	if len(rq.Edges) < 1 || len(rq.Edges) > maxPairs {
		return bad("%d pairs of ends; want 1 to %d", len(rq.Edges), maxPairs)
	}
	var o deployment.PathsOpts
	if rq.Opts != nil {
		o = *rq.Opts
	}
	if o.MinHops < 0 || o.MinHops > graph.MaxHops || o.MaxHops < 0 || o.MaxHops > 1<<16 || o.MaxHops > 0 && o.MaxHops < o.MinHops {
		return bad("from %d to %d hops; want 1 to %d", o.MinHops, o.MaxHops, graph.MaxHops)
	}
	if o.K < 0 || o.K > graph.MaxK {
		return bad("%d paths; want 1 to %d", o.K, graph.MaxK)
	}
	if len(o.Avoid) > maxKeys || len(o.Prefer) > maxKeys || len(o.Types) > maxTypes {
		return bad("more than %d keys to avoid or to prefer, or %d types", maxKeys, maxTypes)
	}
	if o.K == 0 {
		o.K = defaultK
	}
	var qs []query
	for _, pair := range rq.Edges {
		from, to, _ := strings.Cut(pair, ":")
		a, err := cipher.ParsePubKeyText(from)
		if err != nil {
			return bad("%.140q is no <key>:<key>", pair)
		}
		b, err := cipher.ParsePubKeyText(to)
		if err != nil {
			return bad("%.140q is no <key>:<key>", pair)
		}
		if a == b {
			return bad("both ends are the same key")
		}
		qs = append(qs, query{
			Query: graph.Query{From: a, To: b, MinHops: o.MinHops, MaxHops: o.MaxHops, K: o.K, Avoid: o.Avoid, Prefer: o.Prefer, Types: o.Types},
			pair:  pair, disjoint: o.Disjoint,
		})
	}
	return qs, nil
}
