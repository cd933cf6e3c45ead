package setup

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func contextAfter(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// TestClockWrong: a source whose clock is a day off corrects itself by the node's time,
// once, and knows it from then on.
func TestClockWrong(t *testing.T) {
	w := newFakeWorld(t, 4, 1)
	src := w.visors[0]
	src.skew = -24 * time.Hour
	for i, asked := range []int{2, 3} {
		if _, err := src.client.Establish(t.Context(), Request{Path: w.path(), Class: uint32(i)}); err != nil {
			t.Fatal(err)
		}
		if n := w.count(pathRoute); n != asked {
			t.Errorf("asked %d times in all, want %d", n, asked)
		}
	}
	// Where the destination's clock is wrong, the error says whose.
	dst := w.visors[3]
	dst.skew = 24 * time.Hour
	_, err := src.client.Establish(t.Context(), Request{Path: w.path()})
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeClock || e.At != dst.pk || time.Until(e.Time) < 23*time.Hour {
		t.Errorf("got %v", err)
	}
	if err == nil || !strings.Contains(err.Error(), dst.pk.String()) || !strings.Contains(err.Error(), "24h0m0s behind") {
		t.Errorf("the error does not say whose clock is how wrong: %v", err)
	}
}

// TestRace: a node that says nothing is left behind after 300 ms, one that refuses at
// once; and the next time they are asked last.
func TestRace(t *testing.T) {
	tests := []struct {
		name string
		fail func(w *fakeWorld)
		took time.Duration
	}{
		{"says nothing", func(w *fakeWorld) { w.hung[place(w.keys[0], NodePort, pathRoute)] = true }, headStart},
		{"is not there", func(w *fakeWorld) { delete(w.handlers, place(w.keys[0], NodePort, "")) }, 0},
		{"blames the path", func(w *fakeWorld) { w.handlers[place(w.keys[0], NodePort, "")] = liar(w.visors[2].pk) }, 0},
		{"is not trusted by a hop", func(w *fakeWorld) { w.visors[1].hop.SetNodes(w.keys[1:]) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t, 3, 2)
				tt.fail(w)
				began := time.Now()
				for _, want := range []time.Duration{tt.took, 0} {
					route, err := w.visors[0].client.Establish(t.Context(), Request{Path: w.path()})
					if err != nil || route.Node != w.keys[1] {
						t.Fatalf("got %+v, %v", route, err)
					}
					if took := time.Since(began); took != want {
						t.Errorf("it took %v, want %v", took, want)
					}
					began = time.Now()
				}
			})
		})
	}
}

// liar is a setup node that says of all paths that they end at pk.
func liar(pk cipher.PubKey) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		bad := refuse(CodeQuota, "nothing more")
		bad.At = pk
		reply(w, bad.Code.status(), bad.wire())
	})
}

// TestEstablishFails: errors that say what is wrong, and no label kept.
func TestEstablishFails(t *testing.T) {
	tests := []struct {
		name  string
		fail  func(w *fakeWorld, req *Request)
		want  Code
		at    int // index of the visor; -1: none
		asked int // nodes
		took  time.Duration
	}{
		{"no link here", func(w *fakeWorld, _ *Request) { w.visors[0].down[w.visors[1].pk] = true }, CodeNoLink, 0, 0, 0},
		{"no link there", func(w *fakeWorld, _ *Request) { w.visors[1].down[w.visors[2].pk] = true }, CodeNoLink, 1, 2, 0},
		{"a hop that is not there", func(w *fakeWorld, _ *Request) { delete(w.handlers, place(w.visors[1].pk, HopPort, "")) }, CodeUnreachable, 1, 2, 0},
		{"nobody trusts the nodes", func(w *fakeWorld, _ *Request) { w.visors[2].hop.SetNodes(nil) }, CodeForbidden, 2, 2, 0},
		{"all nodes are silent", func(w *fakeWorld, _ *Request) {
			for _, pk := range w.keys {
				w.hung[place(pk, NodePort, pathRoute)] = true
			}
		}, CodeUnreachable, -1, 2, establishTimeout},
		{"nobody to ask", func(w *fakeWorld, req *Request) { req.Not = w.keys }, "", -1, 0, 0},
		{"no path", func(_ *fakeWorld, req *Request) { req.Path = nil }, CodeBadRequest, -1, 0, 0},
		{"a key twice", func(_ *fakeWorld, req *Request) { req.Path = append(req.Path, req.Path...) }, CodeBadRequest, -1, 0, 0},
		{"through itself", func(w *fakeWorld, req *Request) { req.Path[0].PK = w.visors[0].pk }, CodeBadRequest, -1, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t, 4, 2)
				req := Request{Path: w.path()}
				tt.fail(w, &req)
				began := time.Now()
				_, err := w.visors[0].client.Establish(t.Context(), req)
				if codeOf(err) != tt.want || err == nil {
					t.Errorf("got %v, want code %q", err, tt.want)
				}
				if tt.want == "" && !errors.Is(err, ErrNoNode) {
					t.Errorf("got %v, want ErrNoNode", err)
				}
				var e *Error
				var at cipher.PubKey
				if tt.at >= 0 {
					at = w.visors[tt.at].pk
				}
				if errors.As(err, &e) && e.At != at {
					t.Errorf("it failed at %s, want visor %d", e.At, tt.at)
				}
				if n := w.count(pathRoute); n != tt.asked {
					t.Errorf("%d nodes asked, want %d", n, tt.asked)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				for _, n := range w.nodes {
					n.background.Wait()
				}
				if n := w.left(); n != 0 {
					t.Errorf("%d rules and routes are left", n)
				}
			})
		})
	}
}

// TestLocalTransport: a visor that is its own setup node and on the path needs no dmsg
// for either.
func TestLocalTransport(t *testing.T) {
	w := newFakeWorld(t, 3, 1)
	src := w.visors[1]
	w.keys[0] = src.pk
	node, err := NewNode(NodeConfig{Key: src.pk, Limits: DefaultNodeLimits(),
		Transport: Local(src.pk, HopPort, src.hop.Handler(), fakeTransport{w.fakeNet, src.pk})})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range w.visors {
		v.hop.SetNodes(w.keys)
	}
	delete(w.handlers, place(src.pk, HopPort, ""))
	src.client.SetNodes([]NodeAddr{{src.pk, Local(src.pk, NodePort, node.Handler(), fakeTransport{w.fakeNet, src.pk})}})
	if _, err := src.client.Establish(t.Context(), Request{Path: []Step{{PK: w.visors[2].pk}}}); err != nil {
		t.Error(err)
	}
	w.handlers[place(src.pk, NodePort, "")] = node.Handler()
	w.visors[0].client.SetNodes([]NodeAddr{{src.pk, fakeTransport{w.fakeNet, w.visors[0].pk}}})
	if _, err := w.visors[0].client.Establish(t.Context(), Request{Path: w.path()}); err != nil {
		t.Error(err)
	}
}
