package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// client starts one of our clients at the relay.
func (r *rig) client(t testing.TB) *dmsg.Client {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	cfg := dmsg.DefaultConfig()
	cfg.SecKey = sk
	cfg.MinSessions = 1
	cfg.Servers = []*disc.Entry{disc.NewServer(r.PubKey(), r.addr, 1, time.Now())}
	c, err := dmsg.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		c.Close()
		<-done
	})
	r.until(t, func() bool { return r.find(pk) != nil }, "the client's session")
	return c
}

func TestClients(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.client(t), r.client(t)
	ln, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var echoes sync.WaitGroup
	echoes.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			echoes.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	var streams sync.WaitGroup
	for i := range 16 {
		streams.Go(func() {
			conn, err := a.Dial(t.Context(), proto.Addr{PK: b.PubKey(), Port: 80})
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			const size = 4 << 20
			sent := sha256.New()
			go func() {
				src := rand.NewChaCha8([32]byte{byte(i)})
				_, _ = io.CopyN(io.MultiWriter(conn, sent), src, size)
				_ = conn.CloseWrite()
			}()
			got := sha256.New()
			n, err := io.Copy(got, conn)
			if err != nil || n != size || string(got.Sum(nil)) != string(sent.Sum(nil)) {
				t.Errorf("stream %d: %d bytes, %v", i, n, err)
			}
		})
	}
	streams.Wait()
	ln.Close()
	echoes.Wait()
	if s := r.Snapshot(); s.Dials != 16 {
		t.Errorf("%d dials, want 16", s.Dials)
	}
	Reasons(func(why Reason) {
		if n := r.stats.reasons[why].Load(); why.Violation() && n > 0 {
			t.Errorf("%d × %v", n, why)
		}
	})
}

// A dial that cannot succeed fails in a round trip, and says why.
func TestRefusals(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.client(t), r.client(t)
	stranger, _ := cipher.GenerateKeyPair()
	for _, tt := range []struct {
		name string
		to   cipher.PubKey
		want error
	}{
		{"nobody listens", b.PubKey(), proto.ErrNoListener},
		{"no such client", stranger, proto.ErrNoSession},
		{"nobody listens here", a.PubKey(), proto.ErrNoListener},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := a.DialVia(ctx, r.PubKey(), proto.Addr{PK: tt.to, Port: 7})
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	r.until(t, func() bool { return r.find(a.PubKey()).streams()+r.find(b.PubKey()).streams() == 0 }, "circuits to go")
}

func BenchmarkBulk(b *testing.B) {
	r := newRig(b, nil)
	from, to := r.client(b), r.client(b)
	ln, err := to.Listen(80)
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	got := make(chan int64, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256<<10))
		got <- n
	}()
	conn, err := from.Dial(b.Context(), proto.Addr{PK: to.PubKey(), Port: 80})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(buf)))
	b.ResetTimer()
	for b.Loop() {
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = conn.CloseWrite()
	<-got
}

func BenchmarkDial(b *testing.B) {
	r := newRig(b, nil)
	from, to := r.client(b), r.client(b)
	ln, err := to.Listen(80)
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	for b.Loop() {
		conn, err := from.Dial(b.Context(), proto.Addr{PK: to.PubKey(), Port: 80})
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.Close()
	}
}
