package visor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A real is a visor with all its floors, on loopback.
type real struct {
	*api.Client
	pk  cipher.PubKey
	cfg config.Config
}

// startReal runs one until the test ends. edit may be nil.
func startReal(t *testing.T, edit func(*config.Config)) *real {
	t.Helper()
	return startIn(t, t.TempDir(), edit)
}

// startIn is startReal with a folder for its files.
func startIn(t *testing.T, dir string, edit func(*config.Config)) *real {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	cfg := config.Default()
	cfg.SecretKey = sk
	cfg.ListenUDP, cfg.ListenTCP = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Workers, cfg.StreamMemoryMB = 1, 64
	if edit != nil {
		edit(&cfg)
	}
	v, err := New(Options{Config: cfg, File: filepath.Join(dir, config.FileName), SecretKey: sk, Version: "test", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	r := &real{api.NewClient(filepath.Join(dir, cfg.APISocket)), pk, cfg}
	t.Cleanup(func() {
		r.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// addr returns where r takes links.
func (r *real) addr(t *testing.T, typ string) string {
	t.Helper()
	s, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if typ == api.STCPR {
		return s.ListenTCP
	}
	return s.ListenUDP
}

// connect makes a link and waits for it.
func (r *real) connect(t *testing.T, to *real, typ string) {
	t.Helper()
	if err := r.AddLink(t.Context(), api.LinkSpec{PK: to.pk, Type: typ, Addr: to.addr(t, typ)}, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link comes up", func() bool {
		ls, err := r.Links(t.Context())
		return err == nil && len(ls) == 1 && ls[0].State == api.LinkUp
	})
}

func (r *real) rule(t *testing.T, rule api.Rule) {
	t.Helper()
	if err := r.AddRule(t.Context(), rule, false); err != nil {
		t.Fatal(err)
	}
}

// TestChain moves data from A to C through B, over a link of each type, by the local
// API alone:
//
//	A ──SUDPH── B ──STCPR── C
func TestChain(t *testing.T) {
	a, b, c := startReal(t, nil), startReal(t, nil), startReal(t, nil)
	a.connect(t, b, api.SUDPH)
	c.connect(t, b, api.STCPR)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := a.Ping(ctx, b.pk); err != nil {
		t.Fatalf("ping a neighbour: %v", err)
	}
	if _, err := a.Ping(ctx, c.pk); !errors.Is(err, api.ErrUnreachable) || !strings.Contains(err.Error(), c.pk.String()) {
		t.Fatalf("ping without a route: %v", err)
	}
	toA, toC := &a.pk, &c.pk
	b.rule(t, api.Rule{In: api.Hop{Link: a.pk, Label: 17}, Out: api.Hop{Link: c.pk, Label: 34}})
	b.rule(t, api.Rule{In: api.Hop{Link: c.pk, Label: 33}, Out: api.Hop{Link: a.pk, Label: 18}})
	a.rule(t, api.Rule{In: api.Hop{Link: b.pk, Label: 18}, Out: api.Hop{Link: b.pk, Label: 17}, Peer: toC})
	c.rule(t, api.Rule{In: api.Hop{Link: b.pk, Label: 34}, Out: api.Hop{Link: b.pk, Label: 33}, Peer: toA})
	if _, err := a.Ping(ctx, c.pk); err != nil {
		t.Fatalf("ping over two hops: %v", err)
	}

	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	const size = 8 << 20
	sum := make(chan [32]byte, 1)
	go func() {
		conn, err := service.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		h := sha256.New()
		io.Copy(h, conn)
		sum <- [32]byte(h.Sum(nil))
		conn.Write([]byte("got it"))
	}()
	if _, err := c.AddForward(ctx, api.ForwardSpec{Expose: service.Addr().String(), Port: 80, Allow: []cipher.PubKey{a.pk}}, false); err != nil {
		t.Fatal(err)
	}
	local := freeAddr(t)
	if _, err := a.AddForward(ctx, api.ForwardSpec{Reach: api.Peer(c.pk, 80), Local: local}, false); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{7}).Read(data)
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "got it" {
		t.Fatalf("answer %q, %v", answer, err)
	}
	if got := <-sum; got != sha256.Sum256(data) {
		t.Error("the data arrived changed")
	}
	rs, err := b.Routes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		if r.Kind == api.RouteForward && r.In.Label == 17 && r.Bytes < size {
			t.Errorf("B forwarded %d bytes, less than the %d that were sent: they went another way", r.Bytes, size)
		}
	}
	// The rules can be taken away again, by the name they were given.
	if err := b.RemoveRule(ctx, api.Hop{Link: a.pk, Label: 17}, false); err != nil {
		t.Error(err)
	}
	if err := a.RemoveRule(ctx, api.Hop{Link: b.pk, Label: 18}, false); err != nil {
		t.Error(err)
	}
	if _, err := a.Ping(ctx, c.pk); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("ping after the route is gone: %v", err)
	}
}

// freeAddr returns a loopback address whose port was free a moment ago. It is by chance
// and none of those that the system gives out, so that no other test takes it meanwhile.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			continue
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

// TestWrongKey: the error says what may be wrong.
func TestWrongKey(t *testing.T) {
	a, b := startReal(t, nil), startReal(t, nil)
	other, _ := cipher.GenerateKeyPair()
	addr := b.addr(t, api.SUDPH)
	if err := a.AddLink(t.Context(), api.LinkSpec{PK: other, Type: api.SUDPH, Addr: addr}, false); err != nil {
		t.Fatal(err)
	}
	want := "no visor with key " + other.String() + " answered at " + addr + "; another key may live there"
	eventually(t, want, func() bool {
		ls, err := a.Links(t.Context())
		return err == nil && len(ls) == 1 && strings.Contains(ls[0].LastError, want)
	})
}

func TestTranslate(t *testing.T) {
	a := startReal(t, nil)
	ctx := t.Context()
	x, _ := cipher.GenerateKeyPair()
	y, _ := cipher.GenerateKeyPair()
	link := api.LinkSpec{PK: x, Type: api.SUDPH, Addr: "127.0.0.1:9"}
	rule := api.Rule{In: api.Hop{Link: x, Label: 1}, Out: api.Hop{Link: y, Label: 1}}
	a.rule(t, rule)
	if err := a.AddLink(ctx, link, false); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		err  error
		want *api.Error
	}{
		{"same link", a.AddLink(ctx, link, false), api.ErrExists},
		{"same label", a.AddRule(ctx, rule, false), api.ErrExists},
		{"no link", a.RemoveLink(ctx, api.LinkID{PK: y}, false), api.ErrNotFound},
		{"no rule", a.RemoveRule(ctx, api.Hop{Link: y, Label: 1}, false), api.ErrNotFound},
		{"route to itself", a.AddRule(ctx, api.Rule{In: api.Hop{Link: x, Label: 2}, Out: api.Hop{Link: x, Label: 2}, Peer: &a.pk}, false), api.ErrBadRequest},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: got %v, want code %s", tt.name, tt.err, tt.want.Code)
		}
	}
	rs, err := a.Routes(ctx)
	if err != nil || len(rs) == 0 || rs[0].Rule.In != rule.In || len(rs[0].Waiting) != 2 {
		t.Errorf("got %+v, %v; want the rule, waiting for both links", rs, err)
	}
}
