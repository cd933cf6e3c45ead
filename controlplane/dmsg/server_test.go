package dmsg

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// startServer runs our own relay and returns its entry. stop drains it.
func startServer(t testing.TB) (entry *disc.Entry, stop func()) {
	t.Helper()
	r := relaytest.Start(t, 5*time.Second)
	return r.Entry(), r.Stop
}

// What the other tests show with a plain relay, in short with our own.
func TestOurRelay(t *testing.T) {
	entry, _ := startServer(t)
	dir := disc.NewStatic(entry)
	a, b := startClient(t, dir), startClient(t, dir)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	near, far := connect(t, a, l)
	data := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	var echo sync.WaitGroup
	echo.Go(func() {
		if _, err := io.Copy(far, far); err != nil {
			t.Error(err)
		}
		far.CloseWrite() // half is closed already, and the other half works
	})
	echo.Go(func() {
		if _, err := near.Write(data); err != nil {
			t.Error(err)
		}
		near.CloseWrite()
	})
	if got, err := io.ReadAll(near); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v, want %d", len(got), err, len(data))
	}
	echo.Wait()

	away := disc.NewClient(cipher.PubKey{}, "", []cipher.PubKey{entry.Static}, time.Now())
	away.Static, _ = cipher.GenerateKeyPair()
	dir.Add(away)
	for _, tt := range []struct {
		name string
		to   proto.Addr
		want error
	}{
		{"nobody listens", proto.Addr{PK: b.PubKey(), Port: 81}, proto.ErrNoListener},
		{"peer has left the relay", proto.Addr{PK: away.Static, Port: 80}, proto.ErrNoSession},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Now()
			if _, err := a.Dial(testCtx(t), tt.to); !errors.Is(err, tt.want) {
				t.Errorf("Dial: %v, want %v", err, tt.want)
			}
			if took := time.Since(begin); took > quickly {
				t.Errorf("took %v", took)
			}
		})
	}
}

// When our relay stops, its clients are on another before it closes their connections,
// and streams have time to end.
func TestOurRelayDrains(t *testing.T) {
	first, stop := startServer(t)
	dir := disc.NewStatic(first)
	a, b := startClient(t, dir), startClient(t, dir)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	near, far := connect(t, a, l)
	second, _ := startServer(t)
	dir.Add(second)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	for _, c := range []*testClient{a, b} {
		if e := c.await(t, "moved", kind(EventMoved)); e.Server != second.Static {
			t.Errorf("moved to %s", e.Server)
		}
		for _, e := range c.events() {
			if e.Kind == EventDown {
				t.Errorf("the session was lost before there was another: %v", e)
			}
		}
	}
	go func() { near.Write([]byte("to the end")); near.Close() }()
	if got, err := io.ReadAll(far); string(got) != "to the end" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	far.Close()
	<-stopped
	next, _ := connect(t, a, l)
	if next.Relay() != second.Static {
		t.Errorf("by way of %s", next.Relay())
	}
	a.stop() // before the relay, which would wait for them
	b.stop()
}
