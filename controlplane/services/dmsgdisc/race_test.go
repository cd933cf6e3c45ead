package dmsgdisc

import (
	"context"
	"errors"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A racing store lets something happen between a read and what its reader makes of
// it.
type racing struct {
	store.Store
	afterGet, afterGetMany, afterDelete func()
}

func (r *racing) Delete(ctx context.Context, key string, cond store.Cond) error {
	err := r.Store.Delete(ctx, key, cond)
	if f := r.afterDelete; f != nil {
		r.afterDelete = nil
		f()
	}
	return err
}

func (r *racing) Get(ctx context.Context, key string) (store.Item, error) {
	it, err := r.Store.Get(ctx, key)
	if f := r.afterGet; f != nil {
		r.afterGet = nil
		f()
	}
	return it, err
}

func (r *racing) GetMany(ctx context.Context, keys []string) ([]store.Item, error) {
	items, err := r.Store.GetMany(ctx, keys)
	if f := r.afterGetMany; f != nil {
		r.afterGetMany = nil
		f()
	}
	return items, err
}

// racingRig returns a service on a racing store, without anybody who follows it,
// and a second one on the store itself.
func racingRig(t *testing.T) (s *Service, st *racing, other *rig) {
	t.Helper()
	other = newRig(t, nil)
	st = &racing{Store: other.store}
	s, err := New(st, noLimits(other.clock))
	if err != nil {
		t.Fatal(err)
	}
	return s, st, other
}

// A deletion must not take along what was published after it was checked.
func TestRemoveRacesPublish(t *testing.T) {
	s, st, other := racingRig(t)
	e := other.client(0x11, nil)
	home := httpd.Source{9}
	if _, err := s.publish(t.Context(), e, home, false); err != nil {
		t.Fatal(err)
	}
	next := other.client(0x11, func(e *disc.Entry) { e.Sequence, e.Timestamp = 1, e.Timestamp+1 })
	st.afterGet = func() {
		if _, err := other.s.publish(t.Context(), next, home, false); err != nil {
			t.Error(err)
		}
	}
	// What only the author knows counts still, what was the entry does not.
	if err := s.remove(t.Context(), e, httpd.Caller{PK: e.Static}); !errors.Is(err, disc.ErrSequence) {
		t.Errorf("remove = %v, want %v", err, disc.ErrSequence)
	}
	other.want("GET", entryPath+e.Static.String(), "", 200, text(next))
}

// An entry that is published while the mirror looks up that it is gone stays.
func TestFetchRacesPublish(t *testing.T) {
	s, st, other := racingRig(t)
	e := other.client(0x11, nil)
	if _, err := s.publish(t.Context(), e, httpd.Source{}, false); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(t.Context(), keyOf(e.Static), store.Always()); err != nil {
		t.Fatal(err)
	}
	next := other.client(0x11, func(e *disc.Entry) { e.Sequence = 1 })
	st.afterGetMany = func() {
		if _, err := s.publish(t.Context(), next, httpd.Source{}, false); err != nil {
			t.Error(err)
		}
	}
	if err := s.fetch(t.Context(), []string{keyOf(e.Static)}); err != nil {
		t.Fatal(err)
	}
	if it := s.mirror.get(e.Static, other.clock.Now()); it == nil || string(it.raw) != text(next) {
		t.Error("the entry is gone")
	}
	// Without a race it goes.
	if err := st.Delete(t.Context(), keyOf(e.Static), store.Always()); err != nil {
		t.Fatal(err)
	}
	if err := s.fetch(t.Context(), []string{keyOf(e.Static)}); err != nil || s.mirror.get(e.Static, other.clock.Now()) != nil {
		t.Errorf("%v, or an entry that is deleted stays", err)
	}
}

// What is published right after a monitor has deregistered the key stays.
func TestDeregisterRacesPublish(t *testing.T) {
	s, st, other := racingRig(t)
	e := other.client(0x11, nil)
	if _, err := s.publish(t.Context(), e, httpd.Source{}, false); err != nil {
		t.Fatal(err)
	}
	next := other.client(0x11, func(e *disc.Entry) { e.Sequence = 1 })
	st.afterDelete = func() {
		if _, err := s.publish(t.Context(), next, httpd.Source{}, false); err != nil {
			t.Error(err)
		}
	}
	if err := s.deregister(t.Context(), []cipher.PubKey{e.Static}); err != nil {
		t.Fatal(err)
	}
	if it := s.mirror.get(e.Static, other.clock.Now()); it == nil || string(it.raw) != text(next) {
		t.Error("the entry is gone")
	}
}
