package netstack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/waiter"
)

// join returns a connected stream from p.a to p.b.
func join(tb testing.TB, p *pair) (dialled, accepted *Conn) {
	tb.Helper()
	l, err := p.b.Listen(0)
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	got := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			tb.Error(err)
		}
		got <- c
	}()
	c, err := p.a.Dial(ctx, p.b.cfg.PubKey, l.Addr().(Addr).Port)
	if err != nil {
		tb.Fatal(err)
	}
	return c.(*Conn), (<-got).(*Conn)
}

// random returns a reader of n pseudo-random bytes.
func random(seed uint64, n int64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return io.LimitReader(rand.NewChaCha8(key), n)
}

func TestTransferOverFaultyNetwork(t *testing.T) {
	tests := []struct {
		name string
		f    fault
		size int64
	}{
		{"clean", fault{}, 64 << 20},
		{"one packet per burst", fault{chunk: 1}, 8 << 20},
		{"loss", fault{seed: 1, loss: 0.002}, 4 << 20},
		{"loss 2%", fault{seed: 1, loss: 0.02}, 2 << 20},   // gVisor's window reaches 0 here
		{"loss 10%", fault{seed: 2, loss: 0.1}, 256 << 10}, // likewise
		{"duplicates", fault{seed: 3, dup: 0.1}, 8 << 20},
		{"reordering", fault{seed: 4, reorder: 0.1}, 4 << 20},
		{"all", fault{seed: 5, loss: 0.002, dup: 0.05, reorder: 0.05}, 1 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, tt.f)
			c, s := join(t, p)
			defer c.Close()
			defer s.Close()
			want := sha256.New()
			go func() {
				if _, err := io.Copy(c, io.TeeReader(random(tt.f.seed, tt.size), want)); err != nil {
					t.Error(err)
				}
				c.CloseWrite()
			}()
			got := sha256.New()
			s.SetReadDeadline(time.Now().Add(60 * time.Second))
			n, err := io.Copy(got, s)
			if err != nil || n != tt.size {
				t.Fatalf("received %d bytes, %v, want %d; lost %d of %d packets", n, err, tt.size, p.ab.lost, p.ab.sent)
			}
			if string(got.Sum(nil)) != string(want.Sum(nil)) {
				t.Fatal("what arrived is not what was sent")
			}
		})
	}
}

func TestManyStreams(t *testing.T) {
	const streams, size = 64, 256 << 10
	p := newPair(t, fault{seed: 9, loss: 0.002, reorder: 0.002})
	l, err := p.b.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var all sync.WaitGroup
	all.Go(func() {
		for range streams {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			all.Go(func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err != nil {
					t.Error(err)
				}
				c.(*Conn).CloseWrite()
			})
		}
	})
	for i := range streams {
		all.Go(func() {
			c, err := p.a.Dial(t.Context(), p.b.cfg.PubKey, 7)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(60 * time.Second))
			go func() {
				io.Copy(c, random(uint64(i), size))
				c.(*Conn).CloseWrite()
			}()
			got, want := sha256.New(), sha256.New()
			io.Copy(want, random(uint64(i), size))
			if n, err := io.Copy(got, c); err != nil || n != size {
				t.Errorf("stream %d: %d bytes came back, %v", i, n, err)
			}
			if string(got.Sum(nil)) != string(want.Sum(nil)) {
				t.Errorf("stream %d: other bytes came back", i)
			}
		})
	}
	all.Wait()
}

func TestHalfClose(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	fmt.Fprint(c, "question")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	q, err := io.ReadAll(s)
	if err != nil || string(q) != "question" {
		t.Fatalf("read %q, %v", q, err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: %v, want EPIPE", err)
	}
	fmt.Fprint(s, "answer")
	s.Close()
	a, err := io.ReadAll(c)
	if err != nil || string(a) != "answer" {
		t.Fatalf("read %q, %v", a, err)
	}
}

// TestAbort: data that broke off must not look like data that ended.
func TestAbort(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	fmt.Fprint(c, "half of a")
	if _, err := io.ReadFull(s, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	if err := c.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(s); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after the other end's Abort: %v, want ECONNRESET", err)
	}
}

func TestTransferred(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer s.Close()
	fmt.Fprint(c, "question")
	c.Close()
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	if sent, received := c.Transferred(); sent != 8 || received != 0 {
		t.Errorf("writer transferred %d, %d, want 8, 0", sent, received)
	}
	if sent, received := s.Transferred(); sent != 0 || received != 8 {
		t.Errorf("reader transferred %d, %d, want 0, 8", sent, received)
	}
}

func TestAddresses(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	if got, want := s.RemoteAddr().(Addr).PK, p.a.cfg.PubKey; got != want {
		t.Errorf("accepted from %s, want %s", got, want)
	}
	if c.RemoteAddr() != s.LocalAddr() || c.LocalAddr() != s.RemoteAddr() {
		t.Errorf("%v to %v, but %v to %v", c.LocalAddr(), c.RemoteAddr(), s.RemoteAddr(), s.LocalAddr())
	}
}

func TestRefusal(t *testing.T) {
	p := newPair(t, fault{})
	_, err := p.a.Dial(t.Context(), p.b.cfg.PubKey, 80)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial: %v, want ECONNREFUSED", err)
	}
	want := "skynet: " + p.b.cfg.PubKey.String() + ":80 refused the connection: no service listens there"
	if err.Error() != want {
		t.Errorf("dial: %q, want %q", err, want)
	}
	// Each first SYN is answered; on a busy machine now and then a second one leaves before.
	least := time.Hour
	for range 5 {
		start := time.Now()
		_, _ = p.a.Dial(t.Context(), p.b.cfg.PubKey, 80)
		least = min(least, time.Since(start))
	}
	if least > 900*time.Millisecond {
		t.Errorf("refused after %v at best: a retransmission, not the answer", least)
	}
	if n := p.a.Streams(); n != 0 {
		t.Errorf("%d streams left", n)
	}
}

func TestNoRoute(t *testing.T) {
	p := newPair(t, fault{})
	p.a.cfg.Network.(*fakeNetwork).remove(p.b.cfg.PubKey)
	if _, err := p.a.Dial(t.Context(), p.b.cfg.PubKey, 80); !errors.Is(err, errNoRoute) {
		t.Fatalf("dial: %v, want %v", err, errNoRoute)
	}
}

func TestDialCancelled(t *testing.T) {
	p := newPair(t, fault{})
	p.ab.setCut(true)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := p.a.Dial(ctx, p.b.cfg.PubKey, 80); !errors.Is(err, context.Canceled) {
		t.Fatalf("dial: %v, want context.Canceled", err)
	}
	if n := p.a.Streams(); n != 0 {
		t.Errorf("%d streams left", n)
	}
}

func TestLoopback(t *testing.T) {
	p := newPair(t, fault{})
	l, err := p.a.Listen(99)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	c, err := p.a.Dial(t.Context(), p.a.cfg.PubKey, 99)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const size = 4 << 20
	go func() {
		io.Copy(c, random(1, size))
		c.(*Conn).CloseWrite()
	}()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Fatalf("%d bytes came back, %v", n, err)
	}
	if c.RemoteAddr().(Addr).PK != p.a.cfg.PubKey {
		t.Errorf("remote address %v", c.RemoteAddr())
	}
}

// blocked runs f, which must block until end has run, and returns its error.
func blocked(t *testing.T, f func() error, end func()) error {
	t.Helper()
	res := make(chan error, 1)
	go func() { res <- f() }()
	select {
	case err := <-res:
		t.Fatalf("did not block: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	end()
	select {
	case err := <-res:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("still blocked")
		return nil
	}
}

// awaitFull waits until a Write on c waits for space in the send buffer.
func awaitFull(t *testing.T, c *Conn) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		writing := !c.wr.mu.TryLock()
		if !writing {
			c.wr.mu.Unlock()
		}
		if writing && c.ep.Readiness(waiter.WritableEvents) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the send buffer does not fill up")
		}
	}
}

func TestEndOfBlockedCalls(t *testing.T) {
	read := func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }
	write := func(c *Conn) error { // nobody reads: the buffers fill up
		b := make([]byte, 1<<20)
		for {
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
	}
	ends := []struct {
		name string
		do   func(p *pair, c *Conn)
		want error
	}{
		{"close", func(_ *pair, c *Conn) { c.Close() }, net.ErrClosed},
		{"abort", func(_ *pair, c *Conn) { c.Abort() }, net.ErrClosed},
		{"deadline", func(_ *pair, c *Conn) { c.SetDeadline(time.Now().Add(30 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"past deadline", func(_ *pair, c *Conn) { c.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"peer gone", func(p *pair, _ *Conn) { p.a.PeerGone(p.b.cfg.PubKey, 0) }, ErrPeerGone},
		{"stack closed", func(p *pair, _ *Conn) { p.a.Close() }, net.ErrClosed},
		{"other end aborts", func(p *pair, _ *Conn) { p.b.PeerGone(p.a.cfg.PubKey, 0) }, syscall.ECONNRESET},
	}
	for _, tt := range ends {
		t.Run(tt.name+"/read", func(t *testing.T) {
			t.Parallel()
			p := newPair(t, fault{})
			c, s := join(t, p)
			defer s.Close()
			defer c.Close()
			err := blocked(t, func() error { return read(c) }, func() { tt.do(p, c) })
			if !errors.Is(err, tt.want) {
				t.Errorf("read: %v, want %v", err, tt.want)
			}
		})
		t.Run(tt.name+"/write", func(t *testing.T) {
			t.Parallel()
			p := newPairBudget(t, fault{}, 4<<20)
			c, s := join(t, p)
			defer s.Close()
			defer c.Close()
			err := blocked(t, func() error { return write(c) }, func() { awaitFull(t, c); tt.do(p, c) })
			if !errors.Is(err, tt.want) {
				t.Errorf("write: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestDeadlineCanBeMoved(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: %v", err)
	}
	var ne net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("read: %v, want a net.Error that is a timeout", err)
	}
	c.SetReadDeadline(time.Time{})
	fmt.Fprint(s, "x")
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatalf("read after the deadline was taken away: %d, %v", n, err)
	}
}

func TestListenerClose(t *testing.T) {
	p := newPair(t, fault{})
	l, err := p.a.Listen(5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.a.Listen(5); !errors.Is(err, ErrPortInUse) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listen: %v, want ErrPortInUse", err)
	}
	err = blocked(t, func() error { _, err := l.Accept(); return err }, func() { l.Close() })
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want net.ErrClosed", err)
	}
	l, err = p.a.Listen(5)
	if err != nil {
		t.Fatalf("the port is not free again: %v", err)
	}
	err = blocked(t, func() error { _, err := l.Accept(); return err }, func() { p.a.Close() })
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want net.ErrClosed", err)
	}
	if _, err := p.a.Listen(6); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen on a closed stack: %v", err)
	}
	if _, err := p.a.Dial(t.Context(), p.b.cfg.PubKey, 6); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial from a closed stack: %v", err)
	}
}

// What Close leaves in the send buffer is delivered, and the stream's share of the
// budget is kept until then.
func TestCloseDeliversWhatWasWritten(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer s.Close()
	const size = 200 << 10
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	p.ab.setCut(true)
	c.Close()
	if n := p.a.Streams(); n != 1 {
		t.Errorf("%d streams while data is under way, want 1", n)
	}
	p.ab.setCut(false)
	s.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.Copy(io.Discard, s); n != size || err != nil {
		t.Fatalf("%d bytes, %v, want %d", n, err, size)
	}
	s.Close()
	// Until the last acknowledgement is in:
	for deadline := time.Now().Add(30 * time.Second); p.a.Streams() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams left", p.a.Streams())
		}
	}
}

func TestConfigValidate(t *testing.T) {
	_, err := New(Config{Budget: -1})
	for _, want := range []string{"no network", "no public key", "budget of -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want it to say %q", err, want)
		}
	}
}
