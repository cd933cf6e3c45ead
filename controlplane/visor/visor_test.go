package visor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) {
	// fasthttp's caretakers sleep up to 10 s before they see that they may end.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// running is a visor over a fake plane, and a client of its API.
type running struct {
	*api.Client
	pk    cipher.PubKey
	plane *fakePlane
	file  string
	visor *Visor
}

// start runs a visor until the test ends.
func start(t *testing.T, f *fabric, edit func(*config.Config)) *running {
	t.Helper()
	dir := t.TempDir()
	pk, sk := cipher.GenerateKeyPair()
	if err := cipher.SaveSecKey(filepath.Join(dir, config.KeyFileName), sk); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, config.FileName)
	c := config.Default()
	c.SecretKeyFile = config.KeyFileName
	if edit != nil {
		edit(&c)
	}
	if err := config.Save(file, c); err != nil {
		t.Fatal(err)
	}
	p := &fakePlane{fabric: f, pk: pk, closed: make(chan struct{})}
	v, err := newVisor(Options{Config: c, File: file, SecretKey: sk, Version: "test", Log: zerolog.Nop()}, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	r := &running{api.NewClient(filepath.Join(dir, c.APISocket)), pk, p, file, v}
	t.Cleanup(func() {
		r.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		<-p.closed
	})
	eventually(t, "the API answers", func() bool { _, err := r.Status(t.Context()); return err == nil })
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come true: %s", what)
		}
	}
}

// saved returns what stands in the visor's file.
func (r *running) saved(t *testing.T) config.Config {
	t.Helper()
	c, _, err := config.Load(r.file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStatus(t *testing.T) {
	other, _ := cipher.GenerateKeyPair()
	r := start(t, newFabric(), func(c *config.Config) {
		c.Links = []api.LinkSpec{{PK: other, Type: api.SUDPH, Addr: "192.0.2.1:7"}}
		c.Rules = []api.Rule{{In: api.Hop{Link: other, Label: 1}, Out: api.Hop{Link: other, Label: 1}, Peer: &other}}
		c.Forwards = []api.ForwardSpec{{Expose: "localhost:1", Port: 1, Public: true}}
	})
	s, err := r.Status(t.Context())
	if err != nil || s.PK != r.pk || s.Version != "test" || s.Links != 1 || s.LinksUp != 1 || s.Rules != 1 || s.Forwards != 1 || s.Sessions != 7 || s.HeapBytes == 0 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestLinks(t *testing.T) {
	r := start(t, newFabric(), nil)
	ctx := t.Context()
	a, _ := cipher.GenerateKeyPair()
	if err := r.AddLink(ctx, api.LinkSpec{PK: r.pk, Type: api.SUDPH, Addr: "192.0.2.1:7"}, true); !errors.Is(err, api.ErrBadRequest) {
		t.Errorf("link to itself: %v", err)
	}
	for _, typ := range []string{api.SUDPH, api.STCPR} {
		if err := r.AddLink(ctx, api.LinkSpec{PK: a, Type: typ, Addr: "192.0.2.1:7"}, typ == api.SUDPH); err != nil {
			t.Fatal(err)
		}
	}
	if ls, err := r.Links(ctx); err != nil || len(ls) != 2 || ls[0].Type != api.STCPR {
		t.Errorf("got %+v, %v, want both, sorted", ls, err)
	}
	if c := r.saved(t); len(c.Links) != 1 || c.Links[0].Type != api.SUDPH {
		t.Errorf("saved %+v, want the one with save", c.Links)
	}
	if err := r.RemoveLink(ctx, api.LinkID{PK: a}, true); err != nil {
		t.Fatal(err)
	}
	if ls, _ := r.Links(ctx); len(ls) != 0 || len(r.saved(t).Links) != 0 {
		t.Errorf("left: %+v, saved %+v", ls, r.saved(t).Links)
	}
	if err := r.RemoveLink(ctx, api.LinkID{PK: a}, false); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
}

// TestRemoveFromFile: what was removed until the next start can be removed for good.
func TestRemoveFromFile(t *testing.T) {
	r := start(t, newFabric(), nil)
	ctx := t.Context()
	a, _ := cipher.GenerateKeyPair()
	b, _ := cipher.GenerateKeyPair()
	rule := api.Rule{In: api.Hop{Link: a, Label: 1}, Out: api.Hop{Link: b, Label: 2}}
	forward := api.ForwardSpec{Expose: "127.0.0.1:1", Port: 80, Public: true}
	id, err := r.AddForward(ctx, forward, true)
	if err := errors.Join(err, r.AddRule(ctx, rule, true), r.AddLink(ctx, api.LinkSpec{PK: a, Type: api.SUDPH, Addr: "192.0.2.1:7"}, true)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(save bool) error{
		"link":    func(save bool) error { return r.RemoveLink(ctx, api.LinkID{PK: a}, save) },
		"rule":    func(save bool) error { return r.RemoveRule(ctx, rule.In, save) },
		"forward": func(save bool) error { return r.RemoveForward(ctx, id, save) },
	}
	left := len(tests)
	for name, remove := range tests {
		if err := remove(false); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := entries(r.saved(t)); n != left {
			t.Errorf("%s: without save, %d things stand in the file, want %d", name, n, left)
		}
		if err := remove(false); !errors.Is(err, api.ErrNotFound) {
			t.Errorf("%s, removed before: %v", name, err)
		}
		left--
		if err := remove(true); err != nil || entries(r.saved(t)) != left {
			t.Errorf("%s, only in the file: %v, %d left, want %d", name, err, entries(r.saved(t)), left)
		}
		if err := remove(true); !errors.Is(err, api.ErrNotFound) {
			t.Errorf("%s, in neither: %v", name, err)
		}
	}
}

// stubResolver fails until it knows an address.
type stubResolver struct{ answers chan netip.Addr }

func (r stubResolver) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	select {
	case a := <-r.answers:
		return []netip.Addr{a}, nil
	default:
		return nil, fmt.Errorf("no such host %s", host)
	}
}

func TestLinkByName(t *testing.T) {
	r := start(t, newFabric(), nil)
	ctx := t.Context()
	answers := make(chan netip.Addr, 1)
	r.visor.wanted.resolver, r.visor.wanted.first = stubResolver{answers}, time.Millisecond
	a, _ := cipher.GenerateKeyPair()
	spec := api.LinkSpec{PK: a, Type: api.SUDPH, Addr: "example.test:7"}
	if err := r.AddLink(ctx, spec, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is listed with what is wrong", func() bool {
		ls, err := r.Links(ctx)
		return err == nil && len(ls) == 1 && ls[0].State == api.LinkConnecting && strings.Contains(ls[0].LastError, "no such host")
	})
	if err := r.AddLink(ctx, spec, false); !errors.Is(err, api.ErrExists) {
		t.Errorf("again: %v", err)
	}
	answers <- netip.MustParseAddr("192.0.2.9")
	eventually(t, "the link comes up", func() bool {
		ls, err := r.Links(ctx)
		return err == nil && len(ls) == 1 && ls[0].State == api.LinkUp && ls[0].Addr == "192.0.2.9:7"
	})
	b, _ := cipher.GenerateKeyPair()
	spec.PK = b
	if err := r.AddLink(ctx, spec, false); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveLink(ctx, api.LinkID{PK: b}, false); err != nil {
		t.Errorf("remove one that waits: %v", err)
	}
	// The neighbour moves: its name was resolved once and for all.
	state := func(s string) {
		r.plane.lm.Lock()
		r.plane.linked[0].State = s
		r.plane.lm.Unlock()
	}
	state(api.LinkConnecting)
	answers <- netip.MustParseAddr("192.0.2.10")
	eventually(t, "the link follows", func() bool {
		ls, err := r.Links(ctx)
		return err == nil && ls[0].Addr == "192.0.2.10:7"
	})
	if err := r.AddLink(ctx, api.LinkSpec{PK: a, Type: api.SUDPH, Addr: "192.0.2.1:7"}, false); !errors.Is(err, api.ErrExists) {
		t.Errorf("again, with a number: %v", err)
	}
	if err := r.RemoveLink(ctx, api.LinkID{PK: a}, false); err != nil {
		t.Fatal(err)
	}
	if ls, err := r.Links(ctx); err != nil || len(ls) != 0 {
		t.Errorf("left: %+v, %v", ls, err)
	}
}

// TestExpectedNeighbours: who may come in because there is a link to it may not when
// that has been removed.
func TestExpectedNeighbours(t *testing.T) {
	configured, _ := cipher.GenerateKeyPair()
	added, _ := cipher.GenerateKeyPair()
	r := start(t, newFabric(), func(c *config.Config) {
		c.Links = []api.LinkSpec{{PK: configured, Type: api.SUDPH, Addr: "192.0.2.1:7"}}
	})
	ctx := t.Context()
	r.visor.wanted.resolver = stubResolver{}
	for typ, addr := range map[string]string{api.SUDPH: "192.0.2.1:7", api.STCPR: "example.test:7"} {
		if err := r.AddLink(ctx, api.LinkSpec{PK: added, Type: typ, Addr: addr}, false); err != nil {
			t.Fatal(err)
		}
	}
	if !r.plane.expects(configured) || !r.plane.expects(added) {
		t.Error("a neighbour of ours may not come in")
	}
	for _, id := range []api.LinkID{{PK: added, Type: api.STCPR}, {PK: configured}} {
		if err := r.RemoveLink(ctx, id, false); err != nil {
			t.Fatal(err)
		}
	}
	if r.plane.expects(configured) || !r.plane.expects(added) {
		t.Error("want the one that still has a link")
	}
	if err := r.RemoveLink(ctx, api.LinkID{PK: added}, false); err != nil {
		t.Fatal(err)
	}
	if r.plane.expects(added) {
		t.Error("a key stays when its last link has been removed")
	}
}

func TestRules(t *testing.T) {
	r := start(t, newFabric(), nil)
	ctx := t.Context()
	a, _ := cipher.GenerateKeyPair()
	b, _ := cipher.GenerateKeyPair()
	rule := api.Rule{In: api.Hop{Link: a, Label: 1}, Out: api.Hop{Link: b, Label: 2}}
	if err := r.AddRule(ctx, rule, true); err != nil {
		t.Fatal(err)
	}
	if err := r.AddRule(ctx, rule, true); !errors.Is(err, api.ErrExists) {
		t.Errorf("again: %v", err)
	}
	rs, err := r.Routes(ctx)
	if err != nil || len(rs) != 1 || rs[0].Rule != rule || len(r.saved(t).Rules) != 1 {
		t.Errorf("got %+v, %v", rs, err)
	}
	own := api.Rule{In: api.Hop{Link: r.pk, Label: 1}, Out: api.Hop{Link: b, Label: 2}}
	if err := r.AddRule(ctx, own, true); !errors.Is(err, api.ErrBadRequest) {
		t.Errorf("own key: %v", err)
	}
	if err := r.RemoveRule(ctx, rule.In, true); err != nil || len(r.saved(t).Rules) != 0 {
		t.Errorf("remove: %v", err)
	}
}

// TestForward moves data between two visors, all by API.
func TestForward(t *testing.T) {
	f := newFabric()
	a, b := start(t, f, nil), start(t, f, nil)
	ctx := t.Context()
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() {
		c, err := service.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	if _, err := b.AddForward(ctx, api.ForwardSpec{Expose: service.Addr().String(), Port: 80, Allow: []cipher.PubKey{a.pk}}, true); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	local := free.Addr().String()
	spec := api.ForwardSpec{Reach: api.Peer(b.pk, 80), Local: local}
	if _, err := a.AddForward(ctx, spec, false); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("occupied port: %v", err)
	}
	free.Close()
	id, err := a.AddForward(ctx, spec, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.AddForward(ctx, spec, false); !errors.Is(err, api.ErrExists) {
		t.Errorf("again: %v", err)
	}
	c, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	msg := bytes.Repeat([]byte("skywire"), 100_000)
	go func() { c.Write(msg); c.(*net.TCPConn).CloseWrite() }()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(msg))
	}
	eventually(t, "the bytes are counted", func() bool {
		fs, err := b.Forwards(ctx)
		return err == nil && len(fs) == 1 && fs[0].Open == 0 && fs[0].RecvBytes == uint64(len(msg)) && fs[0].SentBytes == fs[0].RecvBytes && fs[0].LastErrorAt == nil
	})
	if fs := b.saved(t).Forwards; len(fs) != 1 || fs[0].Allow[0] != a.pk || len(a.saved(t).Forwards) != 0 {
		t.Errorf("saved %+v", fs)
	}
	if err := a.RemoveForward(ctx, id, false); err != nil {
		t.Error(err)
	}
	if err := a.RemoveForward(ctx, id, false); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if err := b.RemoveForward(ctx, "tcp:80", true); err != nil || len(b.saved(t).Forwards) != 0 {
		t.Errorf("remove: %v", err)
	}
}

func TestPing(t *testing.T) {
	f := newFabric()
	a, b := start(t, f, nil), start(t, f, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	pong, err := a.Ping(ctx, b.pk)
	if err != nil || pong.RTTMicros < 1 {
		t.Errorf("got %+v, %v", pong, err)
	}
	nobody, _ := cipher.GenerateKeyPair()
	if _, err := a.Ping(ctx, nobody); !errors.Is(err, api.ErrUnreachable) || !strings.Contains(err.Error(), "no route") {
		t.Errorf("nobody: %v", err)
	}
	// One that is there and does not answer.
	silent := &fakePlane{fabric: f, pk: nobody}
	port, err := silent.ListenPacket(pingPort)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ping(short, nobody); !errors.Is(err, api.ErrTimeout) {
		t.Errorf("silent: %v", err)
	}
	// What is known is worth more than a time-out.
	a.plane.lm.Lock()
	a.plane.trouble = "no reply to 4 probes"
	a.plane.lm.Unlock()
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ping(short, nobody); !errors.Is(err, api.ErrTimeout) || !strings.HasSuffix(err.Error(), nobody.String()+": no reply to 4 probes") {
		t.Errorf("silent, and something is known: %v", err)
	}
	// So is that the route to it has lost its link.
	a.plane.lm.Lock()
	a.plane.rules = []api.Route{{Rule: api.Rule{Peer: &nobody}, Waiting: []cipher.PubKey{b.pk}}}
	a.plane.lm.Unlock()
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ping(short, nobody); !errors.Is(err, api.ErrTimeout) || !strings.HasSuffix(err.Error(), "waits for a link to "+b.pk.String()) {
		t.Errorf("silent behind a link that is down: %v", err)
	}
}

// TestPingPortIsTaken: a forward cannot have it.
func TestPingPortIsTaken(t *testing.T) {
	r := start(t, newFabric(), nil)
	spec := api.ForwardSpec{UDP: true, Expose: "127.0.0.1:53", Port: pingPort, Public: true}
	if _, err := r.AddForward(t.Context(), spec, false); !errors.Is(err, api.ErrExists) || !strings.Contains(err.Error(), "for pings") {
		t.Errorf("UDP: %v", err)
	}
	spec.UDP = false
	if _, err := r.AddForward(t.Context(), spec, false); err != nil {
		t.Errorf("TCP: %v", err)
	}
}

// TestPingAnswersOnlyQuestions: what is not a ping, an answer above all, is ignored.
func TestPingAnswersOnlyQuestions(t *testing.T) {
	f := newFabric()
	r := start(t, f, nil)
	me, _ := cipher.GenerateKeyPair()
	p := &fakePlane{fabric: f, pk: me}
	var c net.Conn
	eventually(t, "the port for pings is open", func() bool {
		var err error
		c, err = p.DialPacket(t.Context(), r.pk, pingPort)
		return err == nil
	})
	defer c.Close()
	ask := append([]byte{pingAsk}, make([]byte, 16)...)
	answer := append([]byte{pingAnswer}, make([]byte, 16)...)
	for _, b := range [][]byte{nil, {pingAsk}, answer, append(ask, 0), ask} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil || !bytes.Equal(b[:n], answer) {
		t.Fatalf("got %x, %v, want the answer", b[:n], err)
	}
	c.Write(ask)
	if n, _ = c.Read(b); n != pingLen {
		t.Errorf("got %d bytes", n)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(b); err == nil {
		t.Errorf("three answers to two questions: %x", b[:n])
	}
}

func TestStartFaults(t *testing.T) {
	other, _ := cipher.GenerateKeyPair()
	r := start(t, newFabric(), func(c *config.Config) {
		c.Forwards = []api.ForwardSpec{{Reach: api.Peer(other, 1), Local: "192.0.2.1:9"}} // not an address of ours
	})
	if fs, err := r.Forwards(t.Context()); err != nil || len(fs) != 0 {
		t.Errorf("got %+v, %v; want a visor that runs without the forward", fs, err)
	}
	// A second visor on the same socket does not start.
	_, sk := cipher.GenerateKeyPair()
	_, err := newVisor(Options{Config: config.Default(), File: r.file, SecretKey: sk, Log: zerolog.Nop()}, &fakePlane{fabric: newFabric()}, nil)
	if err == nil || !strings.Contains(err.Error(), "another visor") {
		t.Errorf("same socket: %v", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(r.file), config.Default().APISocket)); err != nil {
		t.Errorf("the first visor's socket: %v", err)
	}
}
