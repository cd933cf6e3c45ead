package dmsghttp_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startClient runs a client; stop ends it.
func startClient(t *testing.T, d disc.Directory) (c *dmsg.Client, stop func()) {
	t.Helper()
	cfg := dmsg.DefaultConfig()
	_, cfg.SecKey = cipher.GenerateKeyPair()
	cfg.Directory, cfg.MinSessions = d, 1
	c, err := dmsg.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	stop = func() { c.Close(); group.Wait() }
	t.Cleanup(stop)
	<-c.Ready()
	return c, stop
}

// startWorld joins a client and a server that serves h on its port 80 by a relay.
func startWorld(t *testing.T, h http.Handler) (client *http.Client, url string, dials *atomic.Int32, vanish func()) {
	t.Helper()
	d := disc.NewStatic(relaytest.Start(t, 100*time.Millisecond).Entry())
	at, stop := startClient(t, d)
	from, _ := startClient(t, d)
	lis, err := at.Listen(dmsghttp.DefaultPort)
	if err != nil {
		t.Fatal(err)
	}
	srv := dmsghttp.NewServer(h)
	var group sync.WaitGroup
	group.Go(func() {
		if err := srv.Serve(lis); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	dials = new(atomic.Int32)
	tr := dmsghttp.NewTransport(func(ctx context.Context, to proto.Addr) (net.Conn, error) {
		dials.Add(1)
		return from.Dial(ctx, to)
	})
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		srv.Close()
		group.Wait()
	})
	return &http.Client{Transport: tr}, "dmsg://" + at.PubKey().String(), dials, stop
}

// TestManyRequests: requests that do not come at once need one stream, and those that
// do no more than there are of them; each sees the caller's key.
func TestManyRequests(t *testing.T) {
	client, url, dials, _ := startWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.RemoteAddr[:66], r.Host)
	}))
	get := func() string {
		resp, err := client.Get(url + "/")
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	first := get()
	if len(first) != 66+1+66 {
		t.Fatalf("got %q", first)
	}
	for range 100 {
		if got := get(); got != first {
			t.Fatalf("got %q, want %q", got, first)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("%d streams for requests in a row", n)
	}
	const callers, each = 4, 25
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				get()
			}
		})
	}
	group.Wait()
	if n := dials.Load(); n > 2*callers {
		t.Errorf("%d streams for %d callers with %d requests each", n, callers, each)
	}
}

// TestLongDownload: deployed servers break a download off after 3 s.
func TestLongDownload(t *testing.T) {
	const pieces, every = 36, 100 * time.Millisecond
	piece := make([]byte, 64<<10)
	want := sha256.New()
	for range pieces {
		want.Write(piece)
	}
	client, url, _, _ := startWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range pieces {
			time.Sleep(every)
			w.Write(piece)
			w.(http.Flusher).Flush()
		}
	}))
	resp, err := client.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := sha256.New()
	n, err := io.Copy(got, resp.Body)
	if err != nil || [32]byte(got.Sum(nil)) != [32]byte(want.Sum(nil)) {
		t.Errorf("%d of %d bytes, %v", n, pieces*len(piece), err)
	}
}

// TestPeerVanishes: a body that breaks off is an error, and so is the next request, at
// once.
func TestPeerVanishes(t *testing.T) {
	client, url, _, vanish := startWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	resp, err := client.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	vanish()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("the rest of the body: %d bytes and no error", n)
	}
	again, err := client.Get(url + "/")
	if err == nil {
		again.Body.Close()
		t.Fatal("nobody is there, and there is an answer")
	}
	var d *dmsg.DialError
	if !errors.As(err, &d) {
		t.Errorf("%v, want a DialError", err)
	}
}
