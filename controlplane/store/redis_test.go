package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
	"github.com/skyminer/skywire/controlplane/store/storetest"
)

// open opens the store at url until the end of the test.
func open(t testing.TB, url string, o store.Options) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, o)
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

// patient has a time-out for a machine that is busy with other tests.
func patient() store.Options {
	o := store.DefaultOptions()
	o.Timeout = 20 * time.Second
	return o
}

// runRedis runs the suite on the servers at url, each part under a prefix of its own.
func runRedis(t *testing.T, url string) {
	var parts atomic.Int32
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		url := fmt.Sprintf("%s?prefix=part%d:", url, parts.Add(1))
		s := open(t, url, patient())
		return storetest.Fixture{
			Store: s,
			Pass:  func(d time.Duration) { time.Sleep(d + 5*time.Millisecond) }, // the server's clock is the real one
			Again: func(t *testing.T) store.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				return open(t, url, patient())
			},
		}
	})
}

func TestRedis(t *testing.T) { runRedis(t, redistest.Start(t).URL()) }

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	url, _ := redistest.Cluster(t)
	runRedis(t, url)
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	url, _, _, _ := redistest.Sentinel(t)
	runRedis(t, url)
}
