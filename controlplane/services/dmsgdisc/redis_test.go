package dmsgdisc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// redisRig runs an instance with a connection of its own to the store at url.
func redisRig(t *testing.T, url string, change func(*Options)) *rig {
	t.Helper()
	o := store.DefaultOptions()
	o.Timeout = time.Second
	st, err := store.Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	r := startRig(t, st, newClock(), func(o *Options) {
		o.Shared = true
		if change != nil {
			change(o)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestRedisInstances(t *testing.T) {
	r := redistest.Start(t)
	testInstances(t, redisRig(t, r.URL(), nil), redisRig(t, r.URL(), nil))
}

func TestRedisClusterInstances(t *testing.T) {
	url, _ := redistest.Cluster(t)
	testInstances(t, redisRig(t, url, nil), redisRig(t, url, nil))
}

// testInstances has two instances behave as one.
func testInstances(t *testing.T, a, b *rig) {
	// What one has taken the other gives out at once, and its lists soon.
	var keys []string
	for i := range byte(20) {
		e := a.client(0x40+i, nil)
		a.want("POST", entryPath, text(e), 200, wroteNew)
		b.want("GET", entryPath+e.Static.String(), "", 200, text(e))
		keys = append(keys, e.Static.String())
	}
	server := a.server(0x22, nil)
	a.want("POST", entryPath, text(server), 200, wroteNew)
	waitFor(t, func() bool {
		_, servers := b.do("GET", "/dmsg-discovery/all_servers", "")
		_, clients := b.do("GET", "/dmsg-discovery/entries", "")
		return strings.Contains(servers, server.Static.String()) && strings.Count(clients, ",") == len(keys)-1
	})
	// An update and a deletion arrive.
	next := b.client(0x40, func(e *disc.Entry) { e.Sequence = 1 })
	b.want("POST", entryPath, text(next), 200, wroteNext)
	gone := a.client(0x41, nil)
	status, body := b.do("GET", entryPath+gone.Static.String(), "")
	if status != 200 {
		t.Fatal(body)
	}
	a.want("DELETE", "/dmsg-discovery/entry", body, 200, deleted)
	waitFor(t, func() bool {
		_, updated := a.do("GET", entryPath+next.Static.String(), "")
		status, _ := b.do("GET", entryPath+gone.Static.String(), "")
		return updated == text(next) && status == 404
	})
	// The rule of the sequence holds across instances.
	for round := range uint64(5) {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			e := a.client(0x42, func(e *disc.Entry) { e.Sequence, e.ClientType = round+1, fmt.Sprint("writer ", i) })
			s := []*Service{a.s, b.s}[i%2]
			wg.Go(func() {
				_, err := s.publish(context.Background(), e, httpd.Source{}, false)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, disc.ErrSequence) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("round %d: %d writers won", round, n)
		}
	}
}

// When Redis is gone for a minute, look-ups go on, writes are refused, nothing that
// was acknowledged is lost, and nobody has to restart anything.
func TestRedisGone(t *testing.T) {
	for _, way := range []struct {
		name       string
		gone, back func(*redistest.Server)
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"hangs", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(way.name, func(t *testing.T) {
			redis := redistest.Start(t)
			r := redisRig(t, redis.URL(), nil)
			client, server := r.client(0x11, nil), r.server(0x22, nil)
			r.want("POST", entryPath, text(client), 200, wroteNew)
			r.want("POST", entryPath, text(server), 200, wroteNew)
			served := func(e *disc.Entry) bool {
				status, _ := r.do("GET", entryPath+e.Static.String(), "")
				return status == 200
			}

			// Somebody writes all the time; what was acknowledged is remembered.
			acknowledged := make(map[cipher.PubKey]uint64)
			write := func() (status int) {
				for b := byte(0x50); b < 0x54; b++ {
					pk, _ := keyPair(t, b)
					sequence := acknowledged[pk] + 1
					e := r.client(b, func(e *disc.Entry) { e.Sequence = sequence })
					status, body := r.do("POST", entryPath, text(e))
					switch {
					case status == 200:
						acknowledged[pk] = sequence
					case status == 503 && body == fault(503, disc.ErrUnexpected.Text):
						return status
					case status == 422: // refused before, and written all the same
						acknowledged[pk] = sequence
					default:
						t.Fatalf("%d %s", status, body)
					}
				}
				return 200
			}
			for range 10 {
				if write() != 200 {
					t.Fatal("refused while Redis is there")
				}
			}
			way.gone(redis)
			waitFor(t, func() bool { return write() == 503 && !r.s.mirror.isLost().IsZero() })
			// Of whom it does not know it cannot say that nobody else does.
			r.wantFault("GET", entryPath+r.client(0x77, nil).Static.String(), "", errBusy)
			r.clock.add(60 * time.Second)
			if !served(client) || !served(server) {
				t.Error("not given out while Redis is gone")
			}
			r.clock.add(90 * time.Second)
			if !served(server) {
				t.Error("a server that cannot publish is not given out any more")
			}
			if _, h := r.do("GET", "/health", ""); !strings.Contains(h, `"store_lost_since"`) {
				t.Errorf("health = %s", h)
			}
			way.back(redis)
			waitFor(t, func() bool { return write() == 200 && r.s.mirror.isLost().IsZero() })
			if !served(client) {
				t.Error("an entry that was acknowledged is lost")
			}
			r.wantFault("GET", entryPath+r.client(0x77, nil).Static.String(), "", disc.ErrNotFound)
			for pk, sequence := range acknowledged {
				e, err := r.s.Entry(context.Background(), pk)
				if err != nil || e.Sequence < sequence {
					t.Errorf("%s: sequence %d was acknowledged, there is %+v, %v", pk.Short(), sequence, e, err)
				}
			}
			// Other instances see the same.
			twin := redisRig(t, redis.URL(), nil)
			twin.want("GET", entryPath+client.Static.String(), "", 200, text(client))
		})
	}
}
