package dmsg

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// publishing runs the publisher of a client that has a session with a relay which is not
// there, in a bubble whose clock jumps.
func publishing(t *testing.T, dir *slowDir, f func(c *testClient, sessions func(...cipher.PubKey), stop func())) {
	synctest.Test(t, func(t *testing.T) {
		tc := &testClient{notify: make(chan struct{}, 1)}
		cfg := DefaultConfig()
		_, cfg.SecKey = cipher.GenerateKeyPair()
		cfg.Directory, cfg.ClientType, cfg.OnEvent = dir, disc.ClientVisor, tc.event
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		tc.Client = c
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { c.publish(ctx) })
		sessions := func(pks ...cipher.PubKey) {
			c.mu.Lock()
			clear(c.sessions)
			for _, pk := range pks {
				c.sessions[pk] = &session{c: c, server: pk, kept: true}
			}
			c.mu.Unlock()
			poke(c.stale)
		}
		stop := func() {
			cancel()
			wg.Wait()
		}
		f(tc, sessions, stop)
		stop()
		sessions()
		c.Close()
	})
}

func TestPublish(t *testing.T) {
	r1, _ := cipher.GenerateKeyPair()
	r2, _ := cipher.GenerateKeyPair()
	dir := &slowDir{}
	publishing(t, dir, func(c *testClient, sessions func(...cipher.PubKey), stop func()) {
		sessions(r1)
		<-c.Ready()
		e, err := dir.Static.Entry(context.Background(), c.PubKey())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.Client.DelegatedServers, []cipher.PubKey{r1}) || e.ClientType != disc.ClientVisor || e.Sequence != 0 {
			t.Errorf("entry %+v", e)
		}
		if err := e.Verify(); err != nil {
			t.Error(err)
		}
		// Changes that come together are told together.
		sessions(r1, r2)
		time.Sleep(gather / 2)
		sessions(r2)
		time.Sleep(time.Second)
		if _, puts := dir.count(); puts != 2 {
			t.Errorf("%d times published, want 2", puts)
		}
		// Nothing changes, and the entry is renewed all the same: twelve times an hour.
		time.Sleep(time.Hour)
		if _, puts := dir.count(); puts < 2+10 || puts > 2+14 {
			t.Errorf("%d times published in an hour, want about 12", puts-2)
		}
		stop()
		if _, err := dir.Static.Entry(context.Background(), c.PubKey()); !errors.Is(err, disc.ErrNotFound) {
			t.Errorf("entry after the end: %v", err)
		}
	})
}

func TestPublishRetries(t *testing.T) {
	r1, _ := cipher.GenerateKeyPair()
	dir := &slowDir{err: disc.ErrUnreachable}
	publishing(t, dir, func(c *testClient, sessions func(...cipher.PubKey), _ func()) {
		sessions(r1)
		const away = 10 * time.Minute
		time.Sleep(away)
		// At most one question each half of publishMost, once the pauses have grown.
		asked, puts := dir.count()
		if most := int(away/(publishMost/2)) + 10; asked < int(away/(publishMost*3/2)) || asked > most || puts != 0 {
			t.Errorf("asked %d times in ten minutes, want %d at most; published %d times", asked, most, puts)
		}
		select {
		case <-c.Ready():
			t.Error("ready without an entry")
		default:
		}
		dir.fail(nil)
		time.Sleep(publishMost*3/2 + time.Second)
		select {
		case <-c.Ready():
		default:
			t.Error("not published although the discovery is back")
		}
		var kinds []EventKind
		for _, e := range c.events() {
			kinds = append(kinds, e.Kind)
		}
		if !slices.Equal(kinds, []EventKind{EventHidden, EventPublished}) {
			t.Errorf("events %v", c.events())
		}
	})
}

// TestListed: a session is listed when the discovery has been told about it, which a new
// one with the same relay has to be once more: whatever ended the old one may have taken
// the discovery's memory too.
func TestListed(t *testing.T) {
	r1, _ := cipher.GenerateKeyPair()
	dir := &slowDir{}
	publishing(t, dir, func(c *testClient, sessions func(...cipher.PubKey), _ func()) {
		listed := func() bool { return c.Sessions()[0].Listed }
		sessions(r1)
		if listed() {
			t.Error("listed before the entry was published")
		}
		<-c.Ready()
		if !listed() {
			t.Error("not listed though the entry is published")
		}
		dir.fail(disc.ErrUnreachable)
		sessions(r1)
		time.Sleep(time.Minute)
		if listed() {
			t.Error("a new session is listed though the discovery was not told")
		}
		dir.fail(nil)
		time.Sleep(publishMost*3/2 + time.Second)
		if !listed() {
			t.Error("not listed after the discovery is back")
		}
	})
}

// rival is a discovery in which somebody with the same key is always faster.
type rival struct {
	slowDir
	refused int
}

func (r *rival) Put(context.Context, *disc.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused++
	return disc.ErrSequence
}

// The deployed software repeats a refused update for ever and without a pause: "422 storm".
func TestNoStormOnWrongSequence(t *testing.T) {
	r1, _ := cipher.GenerateKeyPair()
	synctest.Test(t, func(t *testing.T) {
		dir := &rival{}
		cfg := DefaultConfig()
		_, cfg.SecKey = cipher.GenerateKeyPair()
		cfg.Directory = dir
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.sessions[r1] = &session{c: c, server: r1, kept: true}
		poke(c.stale)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		c.publish(ctx)
		// Four tries each time, with pauses that grow to half a minute.
		if dir.refused < 40 || dir.refused > 4*50 {
			t.Errorf("%d updates in ten minutes", dir.refused)
		}
		clear(c.sessions)
		c.Close()
	})
}

// A client of all relays, as a discovery is, stays one that others can look up when
// somebody publishes relays without end.
func TestEntryNamesTheOldestRelays(t *testing.T) {
	c := &Client{sessions: map[cipher.PubKey]*session{}}
	start := time.Now()
	add := func(n int) cipher.PubKey {
		pk := cipher.PubKey{2, byte(n >> 8), byte(n)}
		c.sessions[pk] = &session{server: pk, kept: true, since: start.Add(-time.Duration(n))}
		return pk
	}
	for n := range 2 * disc.MaxDelegated {
		add(n)
	}
	c.sessions[cipher.PubKey{3}] = &session{} // opened for a dial
	got := c.kept()
	if len(got) != disc.MaxDelegated || !slices.IsSortedFunc(got, cipher.PubKey.Compare) {
		t.Fatalf("%d relays, want %d in the order of keys", len(got), disc.MaxDelegated)
	}
	if want := add(disc.MaxDelegated); got[0] != want {
		t.Errorf("the first of the oldest is %s, want %s", got[0], want)
	}
}
