package dmsg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// pair makes two clients on one relay and a listener of the second.
func pair(t testing.TB, options ...func(*testRelay)) (a, b *testClient, l *Listener) {
	t.Helper()
	dir := disc.NewStatic(startRelay(t, options...).entry())
	a, b = startClient(t, dir), startClient(t, dir)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	return a, b, l
}

// connect makes a stream from a to l.
func connect(t testing.TB, a *testClient, l *Listener) (near, far *Stream) {
	t.Helper()
	near, err := a.Dial(testCtx(t), l.Addr().(proto.Addr))
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestDialListen(t *testing.T) {
	a, b, l := pair(t)
	near, far := connect(t, a, l)
	if near.RemoteAddr() != net.Addr(proto.Addr{PK: b.PubKey(), Port: 80}) || near.RemoteAddr() != far.LocalAddr() {
		t.Errorf("near's remote %v, far's local %v", near.RemoteAddr(), far.LocalAddr())
	}
	if near.LocalAddr() != far.RemoteAddr() || near.LocalAddr().(proto.Addr).PK != a.PubKey() {
		t.Errorf("near's local %v, far's remote %v", near.LocalAddr(), far.RemoteAddr())
	}
	// Both ways at once, in pieces of all sizes, more than any window.
	const total = 3 << 20
	exchange := func(from, to *Stream, seed uint64) {
		data := make([]byte, total)
		rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
		go func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for rest := data; len(rest) > 0; {
				n := min(1+r.IntN(1<<(1+r.IntN(18))), len(rest))
				if m, err := from.Write(rest[:n]); m != n || err != nil {
					t.Errorf("Write of %d: %d, %v", n, m, err)
					break
				}
				rest = rest[n:]
			}
			from.CloseWrite()
		}()
		got, err := io.ReadAll(to)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v, want the %d that were sent", len(got), err, total)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { exchange(near, far, 1) })
	wg.Go(func() { exchange(far, near, 2) })
	wg.Wait()
	if n := len(a.ports.dialled); n != 1 {
		t.Errorf("%d ports in use", n)
	}
	near.Close()
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if n := len(a.ports.dialled); n != 0 {
		t.Errorf("%d ports in use after Close", n)
	}
}

func TestHalfClose(t *testing.T) {
	a, _, l := pair(t)
	near, far := connect(t, a, l)
	near.Write([]byte("question"))
	near.CloseWrite()
	if got, err := io.ReadAll(far); string(got) != "question" || err != nil {
		t.Fatalf("far read %q, %v", got, err)
	}
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("Write after CloseWrite succeeds")
	}
	far.Write([]byte("answer"))
	far.Close()
	if got, err := io.ReadAll(near); string(got) != "answer" || err != nil {
		t.Errorf("near read %q, %v", got, err)
	}
}

// quickly bounds what must not wait for a time-out; the bar is a round trip and 50 ms,
// but this machine may be busy.
const quickly = 2 * time.Second

func TestRefusals(t *testing.T) {
	a, b, _ := pair(t)
	full, err := b.Listen(81)
	if err != nil {
		t.Fatal(err)
	}
	for range maxAcceptQueue {
		full.slots <- struct{}{}
	}
	defer func() {
		for range maxAcceptQueue {
			<-full.slots
		}
	}()
	away, _ := cipher.GenerateKeyPair()
	relay, _ := cipher.GenerateKeyPair()
	gone := disc.NewClient(cipher.PubKey{}, "", a.connected(), time.Now())
	gone.Static, _ = cipher.GenerateKeyPair()
	a.cfg.Directory.(*disc.Static).Add(gone)
	nowhere := disc.NewClient(cipher.PubKey{}, "", []cipher.PubKey{relay}, time.Now())
	nowhere.Static, _ = cipher.GenerateKeyPair()
	a.cfg.Directory.(*disc.Static).Add(nowhere)

	tests := []struct {
		name string
		to   proto.Addr
		want error
	}{
		{"nobody listens", proto.Addr{PK: b.PubKey(), Port: 82}, proto.ErrNoListener},
		{"queue is full", proto.Addr{PK: b.PubKey(), Port: 81}, proto.ErrAcceptQueueFull},
		{"no such key", proto.Addr{PK: away, Port: 80}, proto.ErrNoEntry},
		{"peer has left the relay", proto.Addr{PK: gone.Static, Port: 80}, ErrTurnedAway},
		{"its relay is unknown", proto.Addr{PK: nowhere.Static, Port: 80}, proto.ErrUnreachable},
		{"a relay is no client", proto.Addr{PK: a.connected()[0], Port: 80}, proto.ErrNotClient},
		{"port 0", proto.Addr{PK: b.PubKey()}, proto.ErrReqDstPort},
		{"not a key", proto.Addr{Port: 80}, proto.ErrReqDstKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Now()
			_, err := a.Dial(testCtx(t), tt.to)
			var d *DialError
			if !errors.Is(err, tt.want) || !errors.As(err, &d) {
				t.Errorf("Dial: %v, want %v", err, tt.want)
			}
			if took := time.Since(begin); took > quickly {
				t.Errorf("took %v", took)
			}
			if err != nil && strings.Count(err.Error(), "dmsg: ") != 1 {
				t.Errorf("prefix more than once: %v", err)
			}
			t.Log(err)
		})
	}
	if n := len(a.ports.dialled); n != 0 {
		t.Errorf("%d ports in use after refusals", n)
	}
	if n := len(b.guests.n); n != 0 {
		t.Errorf("%d guests after refusals", n)
	}
}

// A relay of the older software says nothing about a peer that is not there. The dial
// then takes its time-out, and no longer.
func TestSilentRelay(t *testing.T) {
	t.Parallel()
	a, _, _ := pair(t, func(r *testRelay) { r.silent = true })
	away, _ := cipher.GenerateKeyPair()
	begin := time.Now()
	_, err := a.DialVia(testCtx(t), a.connected()[0], proto.Addr{PK: away, Port: 80})
	var d *DialError
	if !errors.Is(err, ErrNoAnswer) || !errors.As(err, &d) || !d.Timeout() {
		t.Errorf("Dial: %v", err)
	}
	if took := time.Since(begin); took < dialTimeout || took > dialTimeout+quickly {
		t.Errorf("took %v", took)
	}
	if len(a.Sessions()) != 1 {
		t.Error("the session was given up for one peer's silence")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.DialVia(ctx, a.connected()[0], proto.Addr{PK: away, Port: 80}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial with a short deadline: %v", err)
	}
}

// One relay that takes requests and does nothing must not hold up a dial for which there
// is another.
func TestDialOvertakesDumbRelay(t *testing.T) {
	good, dumb := startRelay(t), startRelay(t, func(r *testRelay) { r.dumb = true })
	dir := disc.NewStatic(good.entry(), dumb.entry())
	two := func(c *Config) { c.MinSessions = 2 }
	a, b := startClient(t, dir, two), startClient(t, dir, two)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	waitSessions(t, a, 2)
	waitSessions(t, b, 2)
	a.Client.mu.Lock()
	a.sessions[dumb.pk].rtt.Store(1)
	a.sessions[good.pk].rtt.Store(2)
	a.Client.mu.Unlock()
	begin := time.Now()
	st, tried, _ := a.dialBy(testCtx(t), l.Addr().(proto.Addr), []cipher.PubKey{good.pk, dumb.pk})
	if st == nil {
		t.Fatal(tried)
	}
	defer st.Close()
	if took := time.Since(begin); st.Relay() != good.pk || took < dialHeadStart || took > quickly {
		t.Errorf("by way of the right relay: %v, after %v", st.Relay() == good.pk, took)
	}
}

// waitSessions waits until a client has n sessions.
func waitSessions(t testing.TB, c *testClient, n int) {
	t.Helper()
	late := time.After(10 * time.Second)
	for len(c.connected()) != n {
		select {
		case <-c.notify:
		case <-late:
			t.Fatalf("%d sessions, want %d; events: %v", len(c.connected()), n, c.events())
		}
	}
}

func TestSelfDial(t *testing.T) {
	a, _, _ := pair(t)
	l, err := a.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	near, far := connect(t, a, l)
	near.Write([]byte("me"))
	near.CloseWrite()
	if got, err := io.ReadAll(far); string(got) != "me" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// Handshakes of one session run in parallel: many dials at once all succeed.
func TestManyDials(t *testing.T) {
	a, _, l := pair(t)
	const dials = 32
	var wg sync.WaitGroup
	for range dials {
		wg.Go(func() {
			st, err := a.Dial(testCtx(t), l.Addr().(proto.Addr))
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			st.Write([]byte("x"))
			st.CloseWrite()
			if _, err := io.ReadAll(st); err != nil {
				t.Error(err)
			}
		})
	}
	for range dials {
		st, err := l.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer st.Close()
			if got, err := io.ReadAll(st); string(got) != "x" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := len(a.ports.dialled); n != 0 {
		t.Errorf("%d ports in use at the end", n)
	}
}

// The dialer of a stream that nobody has accepted hears of the listener's end.
func TestListenerClose(t *testing.T) {
	a, b, l := pair(t)
	st, err := a.Dial(testCtx(t), l.Addr().(proto.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	accepted := make(chan error, 1)
	other, err := b.Listen(81)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, err := other.Accept(); accepted <- err }()
	other.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	l.Close()
	l.Close()
	if _, err := st.Read(make([]byte, 1)); err == nil {
		t.Error("the stream lives on without a listener")
	}
	if _, err := b.Listen(80); err != nil {
		t.Errorf("the port is not free: %v", err)
	}
}

// Everything of a closed client ends, and the discovery forgets it.
func TestClose(t *testing.T) {
	a, b, l := pair(t)
	near, far := connect(t, a, l)
	b.stop()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("a stream of the closed client lives on")
	}
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("the peer's end lives on")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := b.Dial(testCtx(t), proto.Addr{PK: a.PubKey(), Port: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial: %v", err)
	}
	if _, err := b.Listen(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
	if _, err := a.cfg.Directory.Entry(testCtx(t), b.PubKey()); !errors.Is(err, disc.ErrNotFound) {
		t.Errorf("entry of the closed client: %v", err)
	}
	if err := b.Run(context.Background()); !errors.Is(err, ErrRunning) {
		t.Errorf("Run again: %v", err)
	}
}
