package foreign_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestMatrix sends data both ways between dialler and listener for every mixture
// of software, among them theirs alone, which shows that theirs works at all.
func TestMatrix(t *testing.T) {
	both := []kind{theirs, ours}
	for _, discovery := range both {
		for _, hub := range both {
			for _, dialler := range both {
				for _, listener := range both {
					t.Run(fmt.Sprintf("discovery=%v/relay=%v/dialler=%v/listener=%v", discovery, hub, dialler, listener), func(t *testing.T) {
						t.Parallel()
						url := startDiscovery(t, discovery)
						r := startRelay(t, hub, url)
						a, b := startPeer(t, dialler, r, url), startPeer(t, listener, r, url)
						accept := b.listen(80)
						out := must(a.dial(b.pk, 80))(t)
						in := must(accept())(t)
						exchange(t, out, in, 4<<20)
					})
				}
			}
		}
	}
}

// TestStreams opens 64 streams at once in each direction between our client and
// theirs, through our relay.
func TestStreams(t *testing.T) {
	url := startDiscovery(t, ours)
	r := startRelay(t, ours, url)
	peers := []peer{startPeer(t, ours, r, url), startPeer(t, theirs, r, url)}
	for i, from := range peers {
		to := peers[1-i]
		accept := to.listen(81)
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				out, err := from.dial(to.pk, 81)
				if err != nil {
					t.Error(err)
					return
				}
				if err := ask(out, 64<<10); err != nil {
					t.Error(err)
				}
			})
			// The deployed listener's queue holds 20 and drops what is beyond.
			in := must(accept())(t)
			group.Go(func() {
				_, _ = io.Copy(in, in)
				_ = in.Close()
			})
		}
		group.Wait()
	}
}

// ask sends n random bytes to an echo, compares what comes back and closes.
func ask(c net.Conn, n int) error {
	sent := make([]byte, n)
	_, _ = rand.Read(sent)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- err
	}()
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if err := <-wrote; err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("%d bytes came back differently", n)
	}
	return c.Close()
}

// exchange sends n bytes each way at once and compares their hashes.
func exchange(t *testing.T, a, b net.Conn, n int64) {
	t.Helper()
	var group sync.WaitGroup
	for _, way := range []struct{ from, to net.Conn }{{a, b}, {b, a}} {
		sent, got := sha256.New(), sha256.New()
		var done sync.WaitGroup
		done.Go(func() {
			if _, err := io.CopyN(io.MultiWriter(way.from, sent), rand.Reader, n); err != nil {
				t.Errorf("write: %v", err)
			}
		})
		done.Go(func() {
			_ = way.to.SetReadDeadline(time.Now().Add(30 * time.Second))
			if k, err := io.CopyN(got, way.to, n); err != nil {
				t.Errorf("read after %d of %d bytes: %v", k, n, err)
			}
		})
		group.Go(func() {
			done.Wait()
			if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				t.Error("what came is not what was sent")
			}
		})
	}
	group.Wait()
	// The end of one side is the end of the other.
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	_ = b.SetReadDeadline(time.Now().Add(5 * time.Second))
	if k, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the close: %d bytes, %v; want EOF", k, err)
	}
	_ = b.Close()
}

// TestRefusals: through our relay a dial that cannot succeed fails at once, for
// their client too, who would wait 20 s at their own relay.
func TestRefusals(t *testing.T) {
	url := startDiscovery(t, ours)
	r := startRelay(t, ours, url)
	stranger, _ := cipher.GenerateKeyPair()
	gone := startPeer(t, theirs, r, url)
	gone.client.Close()
	for _, dialler := range []kind{ours, theirs} {
		a := startPeer(t, dialler, r, url)
		for _, listener := range []kind{ours, theirs} {
			b := startPeer(t, listener, r, url)
			fails(t, fmt.Sprintf("%v to %v without a listener", dialler, listener), a, b.pk)
		}
		fails(t, fmt.Sprintf("%v to nobody", dialler), a, stranger)
		fails(t, fmt.Sprintf("%v to one who left", dialler), a, gone.pk)
	}
}

func fails(t *testing.T, what string, a peer, pk cipher.PubKey) {
	t.Helper()
	start := time.Now()
	c, err := a.dial(pk, 4711)
	if err == nil {
		_ = c.Close()
		t.Errorf("%s: the dial succeeded", what)
	}
	// The bar is a round trip and 50 ms; this is a guard against waiting for a
	// time-out (5 s and 20 s), not a measurement.
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("%s: %v until %v", what, d, err)
	}
	t.Logf("%s: %v: %v", what, time.Since(start).Round(100*time.Microsecond), err)
}

// TestNewer: what the newer deployed software adds does not disturb ours.
func TestNewer(t *testing.T) {
	url := startDiscovery(t, ours)
	r := startRelay(t, ours, url)
	a, b := startPeer(t, theirs, r, url), startPeer(t, ours, r, url)
	a.client.Newer, a.client.KEMPayload = true, 1184
	accept := b.listen(80)
	out := must(a.client.Dial(b.pk, 80))(t)
	in := must(accept())(t)
	if err := out.WriteEmpty(); err != nil {
		t.Fatal(err)
	}
	if err := out.Ping(); err != nil {
		t.Fatal(err)
	}
	// Their ping's answer comes somewhere in the data of the other direction.
	go func() { _, _ = io.ReadFull(in, make([]byte, 5)); _, _ = in.Write([]byte("world")) }()
	if _, err := out.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(out, got); err != nil || string(got) != "world" {
		t.Fatalf("%q, %v", got, err)
	}
	exchange(t, out, in, 1<<20)
	if out.Pings != 1 {
		t.Errorf("%d answers to one stream ping", out.Pings)
	}
}

// TestSignedRefusal: a signed refusal by their listener passes our relay and ends
// our dial with its reason.
func TestSignedRefusal(t *testing.T) {
	url := startDiscovery(t, ours)
	r := startRelay(t, ours, url)
	a, b := startPeer(t, ours, r, url), startPeer(t, theirs, r, url)
	b.client.Refuse = true
	_, err := a.dial(b.pk, 4711)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("port")) {
		t.Errorf("dial: %v; want the reason that nobody listens on the port", err)
	}
}

// TestNewest: at our relay the newest session of a key wins; theirs would lose both.
func TestNewest(t *testing.T) {
	url := startDiscovery(t, ours)
	r := startRelay(t, ours, url)
	a, b := startPeer(t, ours, r, url), startPeer(t, theirs, r, url)
	again := must(b.client.Connect(r.pk, r.addr))(t)
	accept := b.listen(80)
	out := must(a.dial(b.pk, 80))(t)
	exchange(t, out, must(accept())(t), 1<<20)
	select {
	case <-again.Ended:
		t.Errorf("the newer session ended: %v", again.Err)
	default:
	}
}

// TestIdle: pings are answered, and sessions and streams stay up while nothing
// happens.
func TestIdle(t *testing.T) {
	url := startDiscovery(t, ours)
	r := startRelay(t, ours, url)
	a, b := startPeer(t, theirs, r, url), startPeer(t, ours, r, url)
	s := must(a.client.Connect(r.pk, r.addr))(t)
	if d := must(s.Mux.Ping())(t); d <= 0 {
		t.Errorf("round trip %v", d)
	}
	accept := b.listen(80)
	out := must(a.dial(b.pk, 80))(t)
	in := must(accept())(t)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	<-ctx.Done()
	exchange(t, out, in, 1<<20)
}
