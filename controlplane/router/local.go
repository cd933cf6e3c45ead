package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// DefaultRefresh is how old a Local's list may be.
	DefaultRefresh = 30 * time.Second
	// refreshPause is the least time between two requests for the list, and
	// refreshTimeout what one may take.
	refreshPause   = 2 * time.Second
	refreshTimeout = 3 * time.Second
	// maxTransports bounds the list.
	maxTransports = 1 << 20
	// maxRounds is how often paths are searched anew because some were forged.
	maxRounds = 16
)

// A Lister lists all transports of a deployment, as a *deployment.TransportDiscovery
// does.
type Lister interface {
	All(ctx context.Context, since string) (list []deployment.SignedTransport, tag string, err error)
}

// A LocalConfig describes a Local.
type LocalConfig struct {
	Key  cipher.PubKey // this visor
	List Lister
	// Own returns this visor's links that are up: better known here than listed. nil:
	// the list will do.
	Own     func() []graph.Edge
	Refresh time.Duration // 0: DefaultRefresh
	Log     zerolog.Logger
}

// A Local is a PathFinder that searches the list of all transports itself, so that
// nobody learns which way is looked for. The list is fetched when it is needed and old,
// and only where it has changed; while the discovery does not answer, the old one does.
//
// Signatures are checked of the transports on the paths that it returns, both edges'
// each: a discovery cannot invent a link between two visors of others.
//
// Its methods may be called concurrently.
type Local struct {
	cfg LocalConfig

	turn chan struct{} // has a place for who works on what follows, fetching the list included

	graph   *graph.Graph
	listed  map[graph.TransportID]*listed
	mine    []graph.TransportID        // those listed that are ours
	own     map[graph.TransportID]bool // edges of ours in the graph, by Own
	tag     string
	fetched time.Time // successfully
	asked   time.Time
	err     error // of the last attempt
}

// A listed transport.
type listed struct {
	deployment.SignedTransport
	cost    float64
	checked bool
	forged  bool
}

// NewLocal returns a Local. It asks for nothing before the first call of Paths.
func NewLocal(cfg LocalConfig) (*Local, error) {
	if cfg.Key.IsZero() || cfg.List == nil {
		return nil, errors.New("router: a local path finder needs Key and List")
	}
	if cfg.Refresh <= 0 {
		cfg.Refresh = DefaultRefresh
	}
	return &Local{cfg: cfg, turn: make(chan struct{}, 1), graph: graph.New(), listed: map[graph.TransportID]*listed{}, own: map[graph.TransportID]bool{}}, nil
}

// Paths implements PathFinder. It fails where there is no list yet, or no path.
func (l *Local) Paths(ctx context.Context, q graph.Query) ([]graph.Path, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("router: the list of transports is not there in time: %w", ctx.Err())
	}
	defer func() { <-l.turn }()
	l.refresh(ctx, l.cfg.Refresh)
	paths := l.paths(ctx, q)
	if len(paths) == 0 {
		l.refresh(ctx, refreshPause)
		paths = l.paths(ctx, q)
	}
	switch {
	case len(paths) > 0:
		return paths, nil
	case l.fetched.IsZero():
		return nil, fmt.Errorf("router: the list of transports cannot be had: %w", l.err)
	}
	return nil, fmt.Errorf("%w among %d listed transports", ErrNoPath, len(l.listed))
}

// paths searches, and again without what turns out to be forged: a few times, for a
// discovery that lies may have made up any number of transports.
func (l *Local) paths(ctx context.Context, q graph.Query) []graph.Path {
	l.overlay()
	for round := 1; ; round++ {
		found := l.graph.Paths(q)
		paths := slices.DeleteFunc(slices.Clone(found), func(p graph.Path) bool {
			forged := false
			for _, h := range p.Hops {
				if !l.genuine(h.ID) {
					l.graph.Remove(h.ID)
					forged = true
				}
			}
			return forged
		})
		if len(paths) == len(found) || round == maxRounds || ctx.Err() != nil {
			return paths
		}
	}
}

// genuine reports whether both edges have signed a transport.
func (l *Local) genuine(id graph.TransportID) bool {
	t := l.listed[id]
	if t == nil || l.own[id] {
		return l.own[id]
	}
	if !t.checked {
		t.checked = true
		signed := t.SignedBytes()
		for i, pk := range t.Edges {
			t.forged = t.forged || cipher.Verify(pk, t.Signatures[i], signed) != nil
		}
		if t.forged {
			l.cfg.Log.Warn().Stringer("transport", id).Msg("the transport discovery lists a transport that its edges have not signed")
		}
	}
	return !t.forged
}

// overlay puts this visor's links as they are in the place of what is listed.
func (l *Local) overlay() {
	if l.cfg.Own == nil {
		return
	}
	up := map[graph.TransportID]bool{}
	for _, e := range l.cfg.Own() {
		up[e.ID] = true
		l.graph.Set(e)
	}
	for id := range l.own {
		if !up[id] {
			l.graph.Remove(id)
		}
	}
	l.own = up
	for _, id := range l.mine {
		if !up[id] {
			l.graph.Remove(id)
		}
	}
}

// refresh fetches the list if it is older than age.
func (l *Local) refresh(ctx context.Context, age time.Duration) {
	now := time.Now()
	if !l.fetched.IsZero() && now.Sub(l.fetched) < age || now.Sub(l.asked) < refreshPause {
		return
	}
	l.asked = now
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	list, tag, err := l.cfg.List.All(ctx, l.tag)
	if l.err = err; err != nil {
		return
	}
	l.fetched = now
	if list == nil && tag == l.tag {
		return
	}
	l.tag = tag
	l.replace(list)
}

// replace takes a new list, of which most is as it was.
func (l *Local) replace(list []deployment.SignedTransport) {
	if len(list) > maxTransports {
		l.cfg.Log.Warn().Int("transports", len(list)).Msg("the list of transports is cut off")
		list = list[:maxTransports]
	}
	var mine []graph.TransportID
	next := make(map[graph.TransportID]*listed, len(list))
	for _, st := range list {
		if st.Edges[0] == st.Edges[1] || st.ID != deployment.NewTransportID(st.Edges[0], st.Edges[1], st.Type) {
			continue // does not name what it says
		}
		t := &listed{SignedTransport: st, cost: deployment.Cost(st.Type, st.Stats)}
		old := l.listed[st.ID]
		if old != nil && old.Signatures == st.Signatures {
			t.checked, t.forged = old.checked, old.forged
		}
		next[st.ID] = t
		if st.Edges[0] == l.cfg.Key || st.Edges[1] == l.cfg.Key {
			mine = append(mine, st.ID)
		}
		if !t.forged {
			l.graph.Set(graph.Edge{ID: st.ID, A: st.Edges[0], B: st.Edges[1], Type: st.Type, Cost: t.cost})
		}
	}
	for id := range l.listed {
		if next[id] == nil && !l.own[id] {
			l.graph.Remove(id)
		}
	}
	l.listed, l.mine = next, mine
}
