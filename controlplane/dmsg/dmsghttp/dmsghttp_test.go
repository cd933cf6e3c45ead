package dmsghttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// world serves h on a TCP listener that stands for a dmsg listener and counts the
// streams that are dialled to it.
func world(t *testing.T, h http.Handler) (*Transport, cipher.PubKey, *atomic.Int32) {
	t.Helper()
	pk, _ := cipher.GenerateKeyPair()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(h)
	var group sync.WaitGroup
	group.Go(func() {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	dials := new(atomic.Int32)
	tr := NewTransport(func(ctx context.Context, to proto.Addr) (net.Conn, error) {
		dials.Add(1)
		if to != (proto.Addr{PK: pk, Port: DefaultPort}) {
			return nil, fmt.Errorf("dialled %v", to)
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", lis.Addr().String())
	})
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = srv.Close()
		group.Wait()
	})
	return tr, pk, dials
}

func TestSharesStreams(t *testing.T) {
	tr, pk, dials := world(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+r.URL.Path)
	}))
	client := http.Client{Transport: tr}
	for i := range 20 {
		resp, err := client.Get(fmt.Sprintf("dmsg://%v/n/%d", pk, i))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := fmt.Sprintf("%v/n/%d", pk, i); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if resp.Request.URL.Scheme != Scheme {
			t.Fatalf("the response belongs to %v", resp.Request.URL)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("%d streams for 20 requests in a row", n)
	}
}

func TestBodies(t *testing.T) {
	tr, pk, _ := world(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	client := http.Client{Transport: tr}
	sent := make([]byte, 3<<20+7)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(sent)
	resp, err := client.Post(fmt.Sprintf("dmsg://%v:80/echo", pk), "application/octet-stream", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	h := sha256.New()
	if n, err := io.Copy(h, resp.Body); err != nil || n != int64(len(sent)) || [32]byte(h.Sum(nil)) != sha256.Sum256(sent) {
		t.Errorf("%d of %d bytes came back, %v", n, len(sent), err)
	}
}

func TestBadURLs(t *testing.T) {
	tr, pk, dials := world(t, http.NotFoundHandler())
	client := http.Client{Transport: tr}
	for _, url := range []string{
		"http://example.org/",
		"dmsg://example.org/",
		"dmsg://" + pk.String() + ":0/",
		"dmsg://" + pk.String() + ":65536/",
		"dmsg://" + pk.String()[2:] + "/",
	} {
		resp, err := client.Get(url)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, ErrURL) {
			t.Errorf("%s: %v, want ErrURL", url, err)
		}
	}
	if dials.Load() != 0 {
		t.Error("a bad URL was dialled")
	}
}

func TestDialFails(t *testing.T) {
	reason := errors.New("no such key")
	pk, _ := cipher.GenerateKeyPair()
	tr := NewTransport(func(context.Context, proto.Addr) (net.Conn, error) { return nil, reason })
	client := http.Client{Transport: tr}
	resp, err := client.Get("dmsg://" + pk.String() + "/")
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, reason) {
		t.Errorf("%v, want the dial's reason", err)
	}
}

// TestCancel: a request that is given up frees its stream.
func TestCancel(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	tr, pk, _ := world(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "dmsg://"+pk.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-started
		cancel()
	}()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	<-ended
}
