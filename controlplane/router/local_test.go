package router

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A lister is a transport discovery.
type lister struct {
	list  []deployment.SignedTransport
	tag   string
	asked int
	full  int // of these, answered with a list
	err   error
}

func (l *lister) All(_ context.Context, since string) ([]deployment.SignedTransport, string, error) {
	l.asked++
	switch {
	case l.err != nil:
		return nil, since, l.err
	case since == l.tag:
		return nil, since, nil
	}
	l.full++
	return l.list, l.tag, nil
}

// people have keys with which they sign transports.
type people []*cipher.StaticKey

func newPeople(t *testing.T, n int) (ps people) {
	t.Helper()
	for range n {
		_, sk := cipher.GenerateKeyPair()
		key, err := cipher.NewStaticKey(sk)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, key)
	}
	return ps
}

func (ps people) pk(i int) cipher.PubKey { return ps[i].PubKey() }

// transport makes one between two, signed by both.
func (ps people) transport(t *testing.T, a, b int) deployment.SignedTransport {
	t.Helper()
	st := deployment.SignedTransport{Transport: deployment.NewTransport(ps.pk(a), ps.pk(b), "sudph", "")}
	for i, edge := range st.Edges {
		for _, key := range ps {
			if key.PubKey() != edge {
				continue
			}
			var err error
			if st.Signatures[i], err = key.Sign(st.SignedBytes()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return st
}

func (ps people) local(t *testing.T, l *lister, own func() []graph.Edge) *Local {
	t.Helper()
	f, err := NewLocal(LocalConfig{Key: ps.pk(0), List: l, Own: own, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLocalForged: a transport that its edges have not signed is not used, however good
// it looks.
func TestLocalForged(t *testing.T) {
	ps := newPeople(t, 4)
	forged := ps.transport(t, 0, 3)
	forged.Signatures[1] = forged.Signatures[0]
	renamed := ps.transport(t, 1, 2)
	renamed.Edges = [2]cipher.PubKey{ps.pk(0), ps.pk(3)}
	l := &lister{tag: "a", list: []deployment.SignedTransport{forged, renamed, ps.transport(t, 0, 1), ps.transport(t, 1, 2), ps.transport(t, 2, 3)}}
	f := ps.local(t, l, nil)
	got, err := f.Paths(t.Context(), graph.Query{From: ps.pk(0), To: ps.pk(3), K: 4})
	if err != nil || len(got) != 1 || len(got[0].Hops) != 3 {
		t.Errorf("got %v, %v; want the way over 1 and 2", got, err)
	}
}

// TestLocalManyForged: a discovery that has made up a network does not keep anybody
// busy for long, and is seen through bit by bit.
func TestLocalManyForged(t *testing.T) {
	ps := newPeople(t, 4)
	l := &lister{tag: "a", list: []deployment.SignedTransport{ps.transport(t, 0, 1), ps.transport(t, 1, 2)}}
	const fakes = 60
	middle := newPeople(t, fakes)
	for _, m := range middle {
		for _, end := range []int{1, 3} {
			l.list = append(l.list, deployment.SignedTransport{Transport: deployment.NewTransport(m.PubKey(), ps.pk(end), "sudph", "")})
		}
	}
	f := ps.local(t, l, nil)
	q := graph.Query{From: ps.pk(0), To: ps.pk(3), K: 1}
	searches := func() (n int) {
		for _, t := range f.listed {
			if t.checked {
				n++
			}
		}
		return n
	}
	if got, err := f.Paths(t.Context(), q); !errors.Is(err, ErrNoPath) {
		t.Fatalf("got %v, %v", got, err)
	}
	if n := searches(); n == 0 || n > 3*2*maxRounds {
		t.Errorf("%d transports were looked at in one call; want some %d", n, 2*2*maxRounds)
	}
	for range fakes {
		_, _ = f.Paths(t.Context(), q)
	}
	l.tag, l.list = "b", append(l.list, ps.transport(t, 2, 3))
	f.asked, f.fetched = time.Time{}, time.Time{}
	if got, err := f.Paths(t.Context(), q); err != nil || len(got[0].Hops) != 3 {
		t.Errorf("got %v, %v; want the way over 1 and 2", got, err)
	}
}

// TestLocalWaits: who comes while the list is fetched waits no longer than it wants to.
func TestLocalWaits(t *testing.T) {
	ps := newPeople(t, 2)
	f := ps.local(t, &lister{}, nil)
	f.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Paths(ctx, graph.Query{From: ps.pk(0), To: ps.pk(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestLocalRefresh: the list is fetched when it is old, only where it has changed, and
// an old one does while the service is down.
func TestLocalRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newPeople(t, 4)
		down := errors.New("down")
		l := &lister{err: down}
		f := ps.local(t, l, nil)
		q := graph.Query{From: ps.pk(0), To: ps.pk(2), MaxHops: 3}
		if _, err := f.Paths(t.Context(), q); !errors.Is(err, down) {
			t.Errorf("no list: %v", err)
		}
		time.Sleep(refreshPause)
		l.err, l.tag, l.list = nil, "a", []deployment.SignedTransport{ps.transport(t, 0, 1), ps.transport(t, 1, 2)}
		for range 3 {
			if p, err := f.Paths(t.Context(), q); err != nil || len(p) != 1 {
				t.Fatalf("%v, %v", p, err)
			}
		}
		if l.asked != 2 || l.full != 1 {
			t.Errorf("asked %d times, %d lists; want 2 and 1", l.asked, l.full)
		}
		time.Sleep(DefaultRefresh)
		if p, err := f.Paths(t.Context(), q); err != nil || len(p) != 1 || l.asked != 3 || l.full != 1 {
			t.Errorf("%v, %v after %d requests, %d lists; want 3 and 1", p, err, l.asked, l.full)
		}
		l.tag, l.list = "b", l.list[:1]
		time.Sleep(DefaultRefresh)
		if p, err := f.Paths(t.Context(), q); !errors.Is(err, ErrNoPath) {
			t.Errorf("a transport that is gone: %v, %v", p, err)
		}
		// Where there is no path, a new list is asked for soon, and not each time.
		asked := l.asked
		for range 5 {
			_, _ = f.Paths(t.Context(), q)
		}
		if l.asked > asked+1 {
			t.Errorf("%d requests at once", l.asked-asked)
		}
		l.tag, l.list = "c", append(l.list, ps.transport(t, 1, 2))
		time.Sleep(refreshPause)
		if p, err := f.Paths(t.Context(), q); err != nil || len(p) != 1 {
			t.Errorf("a transport that is new: %v, %v", p, err)
		}
		l.err = down
		time.Sleep(time.Hour)
		if p, err := f.Paths(t.Context(), q); err != nil || len(p) != 1 {
			t.Errorf("while the service is down: %v, %v", p, err)
		}
	})
}

// TestLocalOwn: our own links are as they are here, whatever the list says.
func TestLocalOwn(t *testing.T) {
	ps := newPeople(t, 3)
	st := ps.transport(t, 0, 1)
	l := &lister{tag: "a", list: []deployment.SignedTransport{st, ps.transport(t, 1, 2)}}
	var own []graph.Edge
	f := ps.local(t, l, func() []graph.Edge { return own })
	q := graph.Query{From: ps.pk(0), To: ps.pk(2)}
	edge := graph.Edge{ID: st.ID, A: ps.pk(0), B: ps.pk(1), Type: "sudph", Cost: 3}
	other := graph.Edge{ID: deployment.NewTransportID(ps.pk(0), ps.pk(2), "stcpr"), A: ps.pk(0), B: ps.pk(2), Type: "stcpr", Cost: 1}
	for i, tt := range []struct {
		own  []graph.Edge
		hops int // of the path; 0: none
	}{{nil, 0}, {[]graph.Edge{edge}, 2}, {nil, 0}, {[]graph.Edge{edge, other}, 1}, {[]graph.Edge{edge}, 2}} {
		own = tt.own
		p, err := f.Paths(t.Context(), q)
		if (err == nil) != (tt.hops > 0) || err == nil && len(p[0].Hops) != tt.hops {
			t.Errorf("%d: %v, %v; want %d hops", i, p, err, tt.hops)
		}
	}
}
