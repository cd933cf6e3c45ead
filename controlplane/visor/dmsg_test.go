package visor

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsgctrl"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/controlplane/services/dmsgdisc"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A testRelay is a relay on loopback that can stop and come back.
type testRelay struct{ *relaytest.Relay }

func newTestRelay(t *testing.T) *testRelay {
	t.Helper()
	return &testRelay{relaytest.Start(t, 0)}
}

// restart runs the relay again, at the same address.
func (r *testRelay) restart(t *testing.T) {
	t.Helper()
	r.Relay = relaytest.StartAt(t, r.SecKey, r.Addr, 0)
}

// server is what a visor's configuration says about the relay.
func (r *testRelay) server() config.Server { return config.Server{PK: r.PubKey(), Addr: r.Addr} }

// client returns a dmsg client that uses the relay, until the test ends.
func (r *testRelay) client(t *testing.T) *dmsg.Client {
	t.Helper()
	cfg := dmsg.DefaultConfig()
	_, cfg.SecKey = cipher.GenerateKeyPair()
	cfg.Servers = []*disc.Entry{r.Entry()}
	c, err := dmsg.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// register puts the relay into a discovery.
func (r *testRelay) register(t *testing.T, url string) {
	t.Helper()
	d, err := disc.New(url, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := disc.Update(t.Context(), d, r.SecKey, func(e *disc.Entry) {
		e.Server = &disc.Server{Address: r.Addr, AvailableSessions: 100}
	}); err != nil {
		t.Fatal(err)
	}
}

// pinned is a configuration with that relay alone.
func (r *testRelay) pinned(c *config.Config) {
	c.Dmsg = &config.Dmsg{Servers: []config.Server{r.server()}}
}

// TestDmsgLink: two visors that know no addresses of each other are neighbours, and
// become so again by themselves after the relay was away.
func TestDmsgLink(t *testing.T) {
	r := newTestRelay(t)
	a, b := startReal(t, r.pinned), startReal(t, r.pinned)
	if err := a.AddLink(t.Context(), api.LinkSpec{PK: b.pk, Type: api.DMSG}, false); err != nil {
		t.Fatal(err)
	}
	up := func(v *real) bool {
		ls, err := v.Links(t.Context())
		return err == nil && len(ls) == 1 && ls[0].Type == api.DMSG && ls[0].State == api.LinkUp && ls[0].Addr == ""
	}
	eventually(t, "the link comes up at both ends", func() bool { return up(a) && up(b) })
	if ls, _ := b.Links(t.Context()); len(ls) != 1 || !ls[0].Inbound || ls[0].PK != a.pk {
		t.Errorf("at the other end: %+v", ls)
	}
	if _, err := a.Ping(t.Context(), b.pk); err != nil {
		t.Errorf("ping: %v", err)
	}
	eventually(t, "the relay is in the status", func() bool {
		s, err := a.Status(t.Context())
		d := s.Dmsg
		return err == nil && d != nil && d.Reachable && len(d.Relays) == 1 && d.Relays[0].PK == r.PubKey() && d.Relays[0].Addr == r.Addr && d.Relays[0].Streams == 1
	})

	r.Stop()
	eventually(t, "the link is down, and why is said", func() bool {
		ls, err := a.Links(t.Context())
		return err == nil && len(ls) == 1 && ls[0].State == api.LinkConnecting && ls[0].LastError != ""
	})
	eventually(t, "the status says that there is no relay", func() bool {
		s, err := a.Status(t.Context())
		return err == nil && !s.Dmsg.Reachable && s.Dmsg.LastError == "no relay is connected"
	})
	r.restart(t)
	eventually(t, "the link is up again", func() bool { return up(a) && up(b) })
}

// TestDmsgErrors: what an operator reads.
func TestDmsgErrors(t *testing.T) {
	without := startReal(t, nil)
	other, _ := cipher.GenerateKeyPair()
	err := without.AddLink(t.Context(), api.LinkSpec{PK: other, Type: api.DMSG}, false)
	if !errors.Is(err, api.ErrBadRequest) || !strings.Contains(err.Error(), `a section "dmsg"`) {
		t.Errorf("without a section: %v", err)
	}
	if s, err := without.Status(t.Context()); err != nil || s.Dmsg != nil {
		t.Errorf("status without a section: %+v, %v", s.Dmsg, err)
	}

	r := newTestRelay(t)
	v := startReal(t, r.pinned)
	lastError := func(pk cipher.PubKey) (text string) {
		if err := v.AddLink(t.Context(), api.LinkSpec{PK: pk, Type: api.DMSG}, false); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the link fails", func() bool {
			ls, err := v.Links(t.Context())
			for _, l := range ls {
				if l.PK == pk {
					text = l.LastError
				}
			}
			return err == nil && text != ""
		})
		return text
	}
	if text := lastError(other); !strings.Contains(text, "no session") && !strings.Contains(text, "not connected") {
		t.Errorf("nobody has the key: %q", text)
	}
	c := r.client(t)
	go c.Run(context.Background()) // until Close
	<-c.Ready()
	if text := lastError(c.PubKey()); !strings.Contains(text, "takes no links over dmsg") {
		t.Errorf("no visor has the key: %q", text)
	}
}

// TestDmsgControl: a visor answers pings over dmsg.
func TestDmsgControl(t *testing.T) {
	r := newTestRelay(t)
	v := startReal(t, r.pinned)
	c := r.client(t)
	eventually(t, "the visor is reachable", func() bool {
		s, err := v.Status(t.Context())
		return err == nil && s.Dmsg.Reachable
	})
	st, err := c.Dial(t.Context(), proto.Addr{PK: v.pk, Port: dmsgctrl.Port})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := dmsgctrl.Ping(t.Context(), st); err != nil {
		t.Error(err)
	}
}

// TestDmsgHurry: with a relay, links that wait for one try at once; others do not.
func TestDmsgHurry(t *testing.T) {
	keys := make([]cipher.PubKey, 3)
	for i := range keys {
		keys[i], _ = cipher.GenerateKeyPair()
	}
	p := &fakePlane{linked: []api.Link{
		{PK: keys[0], Type: api.DMSG, State: api.LinkUp},
		{PK: keys[1], Type: api.DMSG, State: api.LinkConnecting},
		{PK: keys[2], Type: api.SUDPH, State: api.LinkConnecting},
	}}
	n := &dmsgNet{plane: p}
	n.note(dmsg.Event{Kind: dmsg.EventDown})
	if len(p.hurried) != 0 {
		t.Errorf("a relay less hurries %v", p.hurried)
	}
	n.note(dmsg.Event{Kind: dmsg.EventUp})
	if len(p.hurried) != 1 || p.hurried[0] != keys[1] {
		t.Errorf("hurried %v, want %v", p.hurried, keys[1])
	}
}

// discovery runs a discovery on lis until the test ends.
func discovery(t *testing.T, lis net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, "bolt://"+filepath.Join(t.TempDir(), "disc.db"), store.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	o := dmsgdisc.DefaultOptions()
	o.Testing, o.Log = true, zerolog.Nop()
	service, err := dmsgdisc.New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(service.Host().Run(ctx, lis, nil), st.Close()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("discovery: %v", err)
		}
	})
}

// TestDmsgByDiscovery: visors that know only a discovery, which may itself be behind a
// relay, find each other.
func TestDmsgByDiscovery(t *testing.T) {
	tests := map[string]func(t *testing.T, r *testRelay) config.Dmsg{
		"over TCP": func(t *testing.T, r *testRelay) config.Dmsg {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			discovery(t, lis)
			url := "http://" + lis.Addr().String()
			r.register(t, url)
			return config.Dmsg{Discovery: url}
		},
		"over dmsg": func(t *testing.T, r *testRelay) config.Dmsg {
			c := r.client(t)
			lis, err := c.Listen(dmsghttp.DefaultPort)
			if err != nil {
				t.Fatal(err)
			}
			discovery(t, lis)
			go c.Run(context.Background()) // until Close
			<-c.Ready()
			return config.Dmsg{Discovery: dmsghttp.Scheme + "://" + lis.Addr().String(), Servers: []config.Server{r.server()}}
		},
	}
	for name, find := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestRelay(t)
			d := find(t, r)
			a := startReal(t, func(c *config.Config) { c.Dmsg = &d })
			b := startReal(t, func(c *config.Config) { c.Dmsg = &d })
			for _, v := range []*real{a, b} {
				eventually(t, "the visor is in the discovery", func() bool {
					s, err := v.Status(t.Context())
					return err == nil && s.Dmsg.Reachable && s.Dmsg.Discovery == d.Discovery && len(s.Dmsg.Relays) == 1
				})
			}
			nobody, _ := cipher.GenerateKeyPair()
			for _, pk := range []cipher.PubKey{b.pk, nobody} {
				if err := a.AddLink(t.Context(), api.LinkSpec{PK: pk, Type: api.DMSG}, false); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "one link comes up, of the other it is said why not", func() bool {
				ls, err := a.Links(t.Context())
				done := 0
				for _, l := range ls {
					if l.PK == b.pk && l.State == api.LinkUp || l.PK == nobody && strings.Contains(l.LastError, "the discovery does not know that key") {
						done++
					}
				}
				return err == nil && done == 2
			})
		})
	}
}

// TestDmsgWithoutDiscovery: with a discovery that does not answer, given relays still do, and
// the status says what is wrong.
func TestDmsgWithoutDiscovery(t *testing.T) {
	r := newTestRelay(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	url := "http://" + dead.Addr().String()
	v := startReal(t, func(c *config.Config) {
		c.Dmsg = &config.Dmsg{Discovery: url, Servers: []config.Server{r.server()}, Sessions: 1}
	})
	eventually(t, "the status says that the entry is not there", func() bool {
		s, err := v.Status(t.Context())
		return err == nil && s.Dmsg.Discovery == url && len(s.Dmsg.Relays) == 1 && !s.Dmsg.Reachable && strings.Contains(s.Dmsg.LastError, "did not take")
	})
}

// TestDmsgDoesNotStart: what was opened before is closed.
func TestDmsgDoesNotStart(t *testing.T) {
	_, sk := cipher.GenerateKeyPair()
	r := newTestRelay(t)
	for name, edit := range map[string]func(*config.Config){
		"bad discovery": func(c *config.Config) { c.Dmsg = &config.Dmsg{Discovery: "x"} },
		"bad listener":  func(c *config.Config) { r.pinned(c); c.ListenTCP = "192.0.2.1:9" },
		"bad socket":    func(c *config.Config) { r.pinned(c); c.APISocket = "/nowhere/at/all/s" },
	} {
		cfg := config.Default()
		cfg.ListenUDP, cfg.ListenTCP = "127.0.0.1:0", "127.0.0.1:0"
		edit(&cfg)
		_, err := New(Options{Config: cfg, File: t.TempDir() + "/c", SecretKey: sk, Log: zerolog.Nop()})
		if err == nil {
			t.Errorf("%s: it starts", name)
		}
	}
}
