package foreign_test

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/internal/foreign"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/controlplane/services/dmsgdisc"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// kind says whose software something runs.
type kind bool

const (
	ours   kind = true
	theirs kind = false
)

func (k kind) String() string {
	if k {
		return "ours"
	}
	return "theirs"
}

// startDiscovery starts a discovery and returns its address.
func startDiscovery(t *testing.T, k kind) string {
	t.Helper()
	if k == theirs {
		web := httptest.NewServer(foreign.NewDiscovery())
		t.Cleanup(web.Close)
		return web.URL
	}
	st := must(store.Open(t.Context(), "bolt://"+filepath.Join(t.TempDir(), "disc.db"), store.DefaultOptions()))(t)
	o := dmsgdisc.DefaultOptions()
	o.Testing = true
	o.Log = zerolog.Nop()
	s := must(dmsgdisc.New(st, o))(t)
	lis := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Host().Run(ctx, lis, nil); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		group.Wait()
		_ = st.Close()
	})
	return "http://" + lis.Addr().String()
}

// A node is a running relay.
type node struct {
	pk   cipher.PubKey
	addr string
}

// startRelay starts a relay and registers it at the discovery.
func startRelay(t *testing.T, k kind, discovery string) node {
	t.Helper()
	if k == theirs {
		r := must(foreign.NewRelay())(t)
		t.Cleanup(r.Close)
		register(t, discovery, r.SK, r.Addr())
		return node{pk: r.PK, addr: r.Addr()}
	}
	r := relaytest.Start(t, 100*time.Millisecond)
	register(t, discovery, r.SecKey, r.Addr)
	return node{pk: r.PubKey(), addr: r.Addr}
}

// register publishes a relay the way the deployed one does.
func register(t *testing.T, discovery string, sk cipher.SecKey, addr string) {
	t.Helper()
	pk := must(sk.PubKey())(t)
	e := foreign.Entry{Version: "0.0.1", Timestamp: time.Now().UnixNano(), Static: pk.String(),
		Server: &foreign.ServerPart{Address: addr, AvailableSessions: 2048}}
	if err := e.Sign(sk); err != nil {
		t.Fatal(err)
	}
	d := foreign.Directory{URL: discovery}
	if reply := must(d.Put(t.Context(), &e))(t); reply != "wrote a new entry" {
		t.Fatalf("the discovery says %q", reply)
	}
}

// A peer is an end point of either kind.
type peer struct {
	pk     cipher.PubKey
	dial   func(pk cipher.PubKey, port uint16) (net.Conn, error)
	listen func(port uint16) func() (net.Conn, error)
	client *foreign.Client // nil where it is ours
}

// startPeer starts a client with one session to r.
func startPeer(t *testing.T, k kind, r node, discovery string) peer {
	t.Helper()
	if k == theirs {
		c := foreign.NewClient(&foreign.Directory{URL: discovery})
		t.Cleanup(c.Close)
		_ = must(c.Connect(r.pk, r.addr))(t)
		return peer{
			pk: c.PK, client: c,
			dial: func(pk cipher.PubKey, port uint16) (net.Conn, error) {
				s, err := c.Dial(pk, port)
				if err != nil {
					return nil, err
				}
				return s, nil
			},
			listen: func(port uint16) func() (net.Conn, error) {
				streams := c.Listen(port)
				return func() (net.Conn, error) {
					select {
					case s := <-streams:
						return s, nil
					case <-time.After(10 * time.Second):
						return nil, errors.New("nobody dialled within 10 s")
					}
				}
			},
		}
	}
	pk, sk := cipher.GenerateKeyPair()
	cfg := dmsg.DefaultConfig()
	cfg.SecKey = sk
	cfg.Directory = must(disc.New(discovery, disc.HTTPOptions{}))(t)
	cfg.MinSessions = 1
	cfg.Log = zerolog.Nop()
	c := must(dmsg.New(cfg))(t)
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(context.Background()); err != nil && !errors.Is(err, dmsg.ErrClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		group.Wait()
	})
	select {
	case <-c.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("our client is not ready after 10 s")
	}
	return peer{
		pk: pk,
		dial: func(pk cipher.PubKey, port uint16) (net.Conn, error) {
			s, err := c.Dial(context.Background(), proto.Addr{PK: pk, Port: port})
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		listen: func(port uint16) func() (net.Conn, error) {
			l, err := c.Listen(port)
			if err != nil {
				return func() (net.Conn, error) { return nil, err }
			}
			return l.Accept
		},
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
