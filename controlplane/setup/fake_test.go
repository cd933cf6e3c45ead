package setup

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/session"
)

// A fakeNet carries requests between handlers in this process, as dmsg does: each knows
// who calls.
type fakeNet struct {
	mu       sync.Mutex
	handlers map[string]http.Handler
	hung     map[string]bool // "<host><path>" of what is never answered
	took     []string        // "<host><path>" of all requests, in order
}

func newFakeNet() *fakeNet {
	return &fakeNet{handlers: map[string]http.Handler{}, hung: map[string]bool{}}
}

func place(pk cipher.PubKey, port uint16, path string) string {
	return proto.Addr{PK: pk, Port: port}.String() + path
}

// fakeTransport is how one key reaches the others.
type fakeTransport struct {
	n    *fakeNet
	from cipher.PubKey
}

var errNobody = errors.New("nobody there")

func (f fakeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	at := req.URL.Host + req.URL.Path
	f.n.mu.Lock()
	f.n.took = append(f.n.took, at)
	h, hung := f.n.handlers[req.URL.Host], f.n.hung[at]
	f.n.mu.Unlock()
	switch {
	case hung:
		<-req.Context().Done()
		return nil, req.Context().Err()
	case h == nil:
		return nil, errNobody
	}
	inner := req.Clone(req.Context())
	inner.RemoteAddr = proto.Addr{PK: f.from, Port: 50000}.String()
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, inner)
	}()
	select {
	case <-done:
	case <-req.Context().Done():
		<-done // what it does must not outlive the test
		return nil, req.Context().Err()
	}
	return w.response(req), nil
}

// count returns how many requests there were for a path.
func (n *fakeNet) count(path string) (c int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range n.took {
		if strings.HasSuffix(at, path) {
			c++
		}
	}
	return c
}

// fakeSessions takes routes.
type fakeSessions struct {
	mu     sync.Mutex
	routes map[uint64]session.RouteSpec
	last   uint64
	mux    bool
	err    error
}

func (f *fakeSessions) AddRoute(spec session.RouteSpec) (session.RouteInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return session.RouteInfo{}, f.err
	}
	f.last++
	if f.routes == nil {
		f.routes = map[uint64]session.RouteSpec{}
	}
	f.routes[f.last] = spec
	return session.RouteInfo{ID: f.last, RouteSpec: spec}, nil
}

func (f *fakeSessions) RemoveRoute(id uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.routes, id)
	return nil
}

func (f *fakeSessions) SetMux(_ cipher.PubKey, _ uint32, on bool) { f.mux = on }

func (f *fakeSessions) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.routes)
}

// A fakeVisor is a label table without links, and what set-up needs besides.
type fakeVisor struct {
	pk       cipher.PubKey
	key      *cipher.StaticKey
	table    *forward.Engine
	sessions *fakeSessions
	hop      *Hop
	client   *Client
	down     map[cipher.PubKey]bool // neighbours without a link
	skew     time.Duration          // of its clock
}

// A fakeWorld is visors and setup nodes that they all trust. The first visor is the
// source in most tests.
type fakeWorld struct {
	*fakeNet
	t      *testing.T
	visors []*fakeVisor
	nodes  []*Node
	keys   []cipher.PubKey // of nodes
	labels label           // drawn by signed
}

func newFakeWorld(t *testing.T, visors, nodes int) *fakeWorld {
	t.Helper()
	w := &fakeWorld{fakeNet: newFakeNet(), t: t}
	for range nodes {
		pk, _ := cipher.GenerateKeyPair()
		n, err := NewNode(NodeConfig{Key: pk, Transport: fakeTransport{w.fakeNet, pk}, Limits: DefaultNodeLimits(), Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		w.keys, w.nodes = append(w.keys, pk), append(w.nodes, n)
		w.handlers[place(pk, NodePort, "")] = n.Handler()
	}
	for range visors {
		w.visors = append(w.visors, w.visor(true))
	}
	return w
}

func (w *fakeWorld) visor(transit bool) *fakeVisor {
	w.t.Helper()
	_, sk := cipher.GenerateKeyPair()
	key, err := cipher.NewStaticKey(sk)
	if err != nil {
		w.t.Fatal(err)
	}
	v := &fakeVisor{pk: key.PubKey(), key: key, sessions: &fakeSessions{}, down: map[cipher.PubKey]bool{}}
	v.table = forward.New(forward.Config{PubKey: v.pk, Transit: forward.Transit{Allow: transit}, Log: zerolog.Nop()})
	w.t.Cleanup(v.table.Close)
	up := func(n forward.Neighbour) bool { return !v.down[n.Peer] }
	now := func() time.Time { return time.Now().Add(v.skew) }
	if v.hop, err = NewHop(HopConfig{
		Key: v.pk, Table: v.table, Sessions: v.sessions, LinkUp: up, Nodes: w.keys,
		Limits: DefaultHopLimits(), Now: now, Log: zerolog.Nop(),
	}); err != nil {
		w.t.Fatal(err)
	}
	var nodes []NodeAddr
	for _, pk := range w.keys {
		nodes = append(nodes, NodeAddr{pk, fakeTransport{w.fakeNet, v.pk}})
	}
	if v.client, err = NewClient(ClientConfig{Key: key, Table: v.table, LinkUp: up, Nodes: nodes, Now: now, Log: zerolog.Nop()}); err != nil {
		w.t.Fatal(err)
	}
	w.handlers[place(v.pk, HopPort, "")] = v.hop.Handler()
	return v
}

// path returns the steps over all visors but the first.
func (w *fakeWorld) path() (path []Step) {
	for _, v := range w.visors[1:] {
		path = append(path, Step{PK: v.pk})
	}
	return path
}

// left returns what visors hold: rules and routes.
func (w *fakeWorld) left() (n int) {
	for _, v := range w.visors {
		n += len(v.table.Rules()) + v.sessions.count()
	}
	return n
}

// signed returns a request for a route over all visors by the first node, after edit.
func (w *fakeWorld) signed(edit func(*statement, *routeRequest)) *routeRequest {
	w.t.Helper()
	src := w.visors[0]
	w.labels++
	in := &routeRequest{Salt: newNonce(), InLabel: 1<<20 + w.labels}
	for _, v := range w.visors[1:] {
		in.Path = append(in.Path, neighbour{PK: v.pk})
	}
	s := statement{
		Source: src.pk, Destination: w.visors[len(w.visors)-1].pk, Node: w.keys[0], Class: 5, TTL: 60_000,
		Time: time.Now().UnixMilli(), Nonce: newNonce(), Path: hashPath(in.Path, in.Salt),
	}
	if edit != nil {
		edit(&s, in)
	}
	var err error
	if in.Signed, in.Signature, err = s.sign(src.key); err != nil {
		w.t.Fatal(err)
	}
	return in
}

// ask posts a request to the first node in the name of a key.
func (w *fakeWorld) ask(from cipher.PubKey, in *routeRequest) *Error {
	var out routeReply
	return call(context.Background(), fakeTransport{w.fakeNet, from}, w.keys[0], NodePort, pathRoute, in, &out)
}

// codeOf returns the code of err, "" where it is none of ours.
func codeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) && e != nil {
		return e.Code
	}
	return ""
}
