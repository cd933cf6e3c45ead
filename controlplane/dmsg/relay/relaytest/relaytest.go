// Package relaytest runs real relays for tests: on loopback, in the test's own
// process, and stops them with the test.
package relaytest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Relay runs until Stop or the end of the test.
type Relay struct {
	*relay.Server
	SecKey cipher.SecKey
	Addr   string // host:port

	stop func()
}

// Start runs a relay with a fresh key on a free port. It gives its clients drain to
// move when it stops; with 0 they lose it as in a crash.
func Start(t testing.TB, drain time.Duration) *Relay {
	t.Helper()
	_, sk := cipher.GenerateKeyPair()
	return StartAt(t, sk, "127.0.0.1:0", drain)
}

// StartAt is Start for a relay with that key at that address: one that comes back.
func StartAt(t testing.TB, sk cipher.SecKey, addr string, drain time.Duration) *Relay {
	t.Helper()
	cfg := relay.DefaultConfig()
	cfg.DrainTimeout = drain
	var err error
	if cfg.Identity, err = proto.NewIdentity(sk); err != nil {
		t.Fatal(err)
	}
	srv, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	r := &Relay{Server: srv, SecKey: sk, Addr: ln.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("relay: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// Stop ends the relay and returns when nothing of it runs any more.
func (r *Relay) Stop() { r.stop() }

// Entry returns what a discovery says about the relay, not signed.
func (r *Relay) Entry() *disc.Entry { return disc.NewServer(r.PubKey(), r.Addr, 100, time.Now()) }
