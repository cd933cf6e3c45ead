package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/storetest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(writerEnv); url != "" {
		writeUntilKilled(url)
	}
	code := m.Run()
	// After Close the client of a cluster leaves goroutines behind that sleep up to 5 s
	// before they see that there is nothing to refresh and close old connections.
	leaked := goleak.Find()
	for deadline := time.Now().Add(10 * time.Second); leaked != nil && time.Now().Before(deadline); {
		leaked = goleak.Find()
	}
	if code == 0 && leaked != nil {
		fmt.Fprintln(os.Stderr, leaked)
		code = 1
	}
	os.Exit(code)
}

// A clock stands still until it is told to go on.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time { return time.Unix(0, c.ns.Load()) }

func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

// openBolt opens the file at path until the end of the test.
func openBolt(t testing.TB, path string, o store.Options) *store.Bolt {
	t.Helper()
	s, err := store.OpenBolt(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestBolt(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		c := newClock()
		o := patient()
		o.Now = c.now
		path := filepath.Join(t.TempDir(), "x.db")
		s := openBolt(t, path, o)
		return storetest.Fixture{Store: s, Pass: c.pass, Again: func(t *testing.T) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openBolt(t, path, o)
		}}
	})
}
