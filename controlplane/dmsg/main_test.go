package dmsg

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestMain looks for goroutines left behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A testClient is a client that runs until the test ends, and what it has told.
type testClient struct {
	*Client
	mu     sync.Mutex
	told   []Event
	notify chan struct{}
	stop   func() // ends Run and waits for it
}

// startClient runs a client whose relays and peers stand in dir.
func startClient(t testing.TB, dir disc.Directory, options ...func(*Config)) *testClient {
	t.Helper()
	tc := newTestClient(t, dir, options...)
	select {
	case <-tc.Ready():
	case <-time.After(10 * time.Second):
		t.Fatalf("client is not ready; events: %v", tc.events())
	}
	return tc
}

// newTestClient is startClient for a client that may have nobody to connect to.
func newTestClient(t testing.TB, dir disc.Directory, options ...func(*Config)) *testClient {
	t.Helper()
	tc := &testClient{notify: make(chan struct{}, 1)}
	cfg := DefaultConfig()
	_, cfg.SecKey = cipher.GenerateKeyPair()
	cfg.Directory = dir
	cfg.MinSessions = 1
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	cfg.OnEvent = tc.event
	for _, o := range options {
		o(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tc.Client = c
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	tc.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(tc.stop)
	return tc
}

func (tc *testClient) event(e Event) {
	tc.mu.Lock()
	tc.told = append(tc.told, e)
	tc.mu.Unlock()
	poke(tc.notify)
}

func (tc *testClient) events() []Event {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	return append([]Event(nil), tc.told...)
}

// await waits until an event fits.
func (tc *testClient) await(t testing.TB, what string, fits func(Event) bool) Event {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		for _, e := range tc.events() {
			if fits(e) {
				return e
			}
		}
		select {
		case <-tc.notify:
		case <-late:
			t.Fatalf("no event: %s; there were %v", what, tc.events())
		}
	}
}

// kind fits events of that kind.
func kind(k EventKind) func(Event) bool { return func(e Event) bool { return e.Kind == k } }

// testCtx ends before the test run loses patience.
func testCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
