package dmsg

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A cable can be cut: what is written is lost and nothing comes any more, as after a
// change of network, where the system says nothing for minutes.
type cable struct {
	net.Conn
	cut *atomic.Bool
}

func (c cable) Write(p []byte) (int, error) {
	if c.cut.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func TestCheck(t *testing.T) {
	r := startRelay(t)
	dir := disc.NewStatic(r.entry())
	var latest atomic.Pointer[atomic.Bool]
	a := startClient(t, dir, func(cfg *Config) {
		cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			cut := new(atomic.Bool)
			latest.Store(cut)
			return cable{conn, cut}, nil
		}
	})
	a.Check(5 * time.Second)
	for _, e := range a.events() {
		if e.Kind == EventDown {
			t.Fatalf("a session that is well was ended: %v", e)
		}
	}
	latest.Load().Store(true)
	began := time.Now()
	a.Check(100 * time.Millisecond)
	if took := time.Since(began); took > quickly {
		t.Errorf("Check took %v", took)
	}
	a.await(t, "down", kind(EventDown))
	a.await(t, "the same relay again", func(e Event) bool { return e.Kind == EventMoved && e.Server == r.pk })
}

// With a discovery that fails, or that says nothing at all, a peer that nobody has heard
// of is found at a relay that both have pinned.
func TestDialWithoutDiscovery(t *testing.T) {
	quiet := &mute{}
	failing := &slowDir{err: disc.ErrUnexpected}
	for _, tt := range []struct {
		name string
		dir  disc.Directory
	}{{"fails", failing}, {"silent", quiet}} {
		t.Run(tt.name, func(t *testing.T) {
			common, other := startRelay(t), startRelay(t)
			b := startClient(t, nil, func(cfg *Config) { cfg.Servers = []*disc.Entry{common.entry()} })
			l, err := b.Listen(80)
			if err != nil {
				t.Fatal(err)
			}
			quiet.set(true)
			// a may have a session with the other relay only, and knows of the common one.
			a := newTestClient(t, tt.dir, func(cfg *Config) {
				cfg.Servers = []*disc.Entry{common.entry(), other.entry()}
			})
			waitFor(t, "a session", func() bool { return len(a.connected()) > 0 })
			connect(t, a, l)
			if _, err := a.Dial(testCtx(t), proto.Addr{PK: b.PubKey(), Port: 81}); !errors.Is(err, proto.ErrNoListener) {
				t.Errorf("nobody listens: %v", err)
			}
		})
	}
}

// What is remembered about a peer names a relay that is gone; it is found at a pinned one
// all the same.
func TestDialWhereRememberedRelayIsGone(t *testing.T) {
	common := startRelay(t)
	b := startClient(t, nil, func(cfg *Config) { cfg.Servers = []*disc.Entry{common.entry()} })
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	gone, _ := cipher.GenerateKeyPair()
	dir := disc.NewStatic(disc.NewServer(gone, "127.0.0.1:1", 1, time.Now()))
	dir.Add(disc.NewClient(b.PubKey(), "", []cipher.PubKey{gone}, time.Now()))
	a := newTestClient(t, dir, func(cfg *Config) { cfg.Servers = []*disc.Entry{common.entry()} })
	connect(t, a, l)
}
