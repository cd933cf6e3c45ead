package ctl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/controlplane/services/dmsgdisc"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A dmsgWorld is a discovery and a relay.
type dmsgWorld struct {
	url   string // of the discovery
	relay cipher.PubKey
	addr  string // of the relay

	service *dmsgdisc.Service
}

func startDmsg(t *testing.T) dmsgWorld {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() { stop(); group.Wait() })
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
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group.Go(func() {
		if err := service.Host().Run(ctx, lis, nil); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("discovery: %v", err)
		}
		_ = st.Close()
	})
	w := dmsgWorld{url: "http://" + lis.Addr().String(), service: service}
	w.startRelay(t)
	return w
}

func (w *dmsgWorld) startRelay(t *testing.T) {
	t.Helper()
	r := relaytest.Start(t, 100*time.Millisecond)
	w.relay, w.addr = r.PubKey(), r.Addr
	d, err := disc.New(w.url, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := disc.Update(t.Context(), d, r.SecKey, func(e *disc.Entry) {
		e.Server = &disc.Server{Address: w.addr, AvailableSessions: 100}
	}); err != nil {
		t.Fatal(err)
	}
}

// overDmsg serves the discovery over dmsg too, and returns its URL there.
func (w dmsgWorld) overDmsg(t *testing.T) string {
	t.Helper()
	cfg := dmsg.DefaultConfig()
	pk, sk := cipher.GenerateKeyPair()
	d, err := disc.New(w.url, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.SecKey, cfg.Directory, cfg.MinSessions = sk, d, 1
	c, err := dmsg.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := c.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = c.Run(context.Background()) })
	group.Go(func() {
		if err := w.service.Host().ServeDmsg(ctx, lis); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("discovery over dmsg: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		_ = c.Close()
		group.Wait()
		d.Close()
	})
	<-c.Ready()
	return "dmsg://" + pk.String() + ":80"
}

// args are a command line with the network in front.
func (w dmsgWorld) args(line ...string) []string {
	return append([]string{"dmsg", "--discovery", w.url}, line...)
}

// pinned are a command line that goes without the discovery.
func (w dmsgWorld) pinned(line ...string) []string {
	return append([]string{"dmsg", "--server", w.relay.String() + "@" + w.addr}, line...)
}

// A safeBuffer is written to and read at once.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A process is a run of skyctl in the background.
type process struct {
	t        *testing.T
	out, err safeBuffer
	stop     context.CancelFunc
	code     chan int
}

// begin runs skyctl until the test ends.
func begin(t *testing.T, in io.Reader, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &process{t: t, stop: cancel, code: make(chan int, 1)}
	p := New(&r.out, &r.err, "v1", "/nowhere/s")
	p.in = in
	done := make(chan struct{})
	go func() {
		r.code <- p.Main(ctx, args)
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// await waits until the process has said something, and returns the rest of that line.
func (r *process) await(text string) string {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		said := r.out.String() + r.err.String()
		if _, rest, ok := strings.Cut(said, text); ok && strings.Contains(rest, "\n") {
			line, _, _ := strings.Cut(rest, "\n")
			return line
		}
		if time.Now().After(end) {
			r.t.Fatalf("%q was not said; but: %s", text, said)
		}
	}
}

// end waits for the end of the process and returns its exit code.
func (r *process) end() int {
	r.t.Helper()
	select {
	case code := <-r.code:
		return code
	case <-time.After(20 * time.Second):
		r.t.Fatalf("it does not end; it said %s%s", r.out.String(), r.err.String())
		return -1
	}
}

// noise returns n bytes that are the same for the same seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{seed})
	_, _ = source.Read(b)
	return b
}

// keyFile makes a secret key.
func keyFile(t *testing.T) (cipher.PubKey, string) {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	file := filepath.Join(t.TempDir(), "key")
	if err := cipher.SaveSecKey(file, sk); err != nil {
		t.Fatal(err)
	}
	return pk, file
}
