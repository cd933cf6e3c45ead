package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/setup/setuptest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is visors, the graph that a path finder has of them, and the router of the
// first one.
type world struct {
	*setuptest.Net
	finder *finder
	links  *links
	busy   atomic.Bool
	*Router
}

// newWorld starts n visors with links between those that pairs names by their indices;
// the finder knows these.
func newWorld(t testing.TB, n int, pairs [][2]int) *world {
	t.Helper()
	w := &world{Net: setuptest.New(t, n, nil), finder: &finder{g: graph.New()}}
	for _, p := range pairs {
		w.Connect(w.Visors[p[0]], w.Visors[p[1]])
		w.list(p[0], p[1], 10)
	}
	w.links = &links{w: w}
	a := w.Visors[0]
	var err error
	w.Router, err = New(Config{
		Key:        a.PK,
		Members:    []Member{{Name: "test", Finder: w.finder, Setup: a.Client}},
		Transports: w.links, Sessions: a.Sessions, Links: a.Links, Forward: a.Forward,
		Busy: func(cipher.PubKey, uint32) bool { return w.busy.Load() },
		Log:  zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.OnRoute(w.OnRoute)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

// list tells the finder of a link, true or not.
func (w *world) list(a, b int, cost float64) {
	x, y := w.Visors[a].PK, w.Visors[b].PK
	w.finder.g.Set(graph.Edge{ID: deployment.NewTransportID(x, y, "sudph"), A: x, B: y, Type: "sudph", Cost: cost})
}

func (w *world) pk(i int) cipher.PubKey { return w.Visors[i].PK }

// ensure is Ensure, which has to work.
func (w *world) ensure(i int, p Policy) uint32 {
	w.T.Helper()
	var class uint32
	setuptest.Eventually(w.T, "there is a way", func() bool {
		var err error
		class, err = w.Ensure(context.Background(), w.pk(i), p)
		if err != nil && !tooSlow(err) {
			w.T.Fatalf("Ensure: %v", err)
		}
		return err == nil
	})
	return class
}

// tooSlow reports whether err says that something took too long: this machine may have
// other things to do.
func tooSlow(err error) bool { return setuptest.TooSlow(err) || errors.Is(err, errStillborn) }

// paths returns the routes to visor i as indices of visors, the ends left out.
func (w *world) paths(i int) (all [][]int) {
	for _, r := range w.Routes() {
		if r.Peer != w.pk(i) {
			continue
		}
		var p []int
		for _, pk := range middle(r.Path) {
			p = append(p, slices.IndexFunc(w.Visors, func(v *setuptest.Visor) bool { return v.PK == pk }))
		}
		all = append(all, p)
	}
	return all
}

// A finder finds paths in a graph and counts how often it was asked.
type finder struct {
	g     *graph.Graph
	mu    sync.Mutex
	asked int
	err   error
	mute  int // questions that are still to be left unanswered
}

func (f *finder) Paths(_ context.Context, q graph.Query) ([]graph.Path, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.mute > 0 {
		f.mute--
		return nil, errNoWay
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.g.Paths(q), nil
}

// links is a transport manager that connects visors for which open is set.
type links struct {
	w    *world
	open atomic.Bool
}

var errNoWay = errors.New("no way to it")

func (l *links) Ensure(_ context.Context, pk cipher.PubKey) error {
	if !l.open.Load() {
		return errNoWay
	}
	for _, v := range l.w.Visors {
		if v.PK == pk {
			l.w.Connect(l.w.Visors[0], v)
			return nil
		}
	}
	return errNoWay
}

// fail has the finder answer with err from now on.
func (f *finder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

var _ Setup = (*setup.Client)(nil)
