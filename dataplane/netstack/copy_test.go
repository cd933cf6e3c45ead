package netstack

import (
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// A host socket copied into a stream and out again into another one, as port
// forwarding does, in both directions at once and over a network with faults.
func TestCopyHostSockets(t *testing.T) {
	const size = 4 << 20
	p := newPair(t, fault{seed: 7, reorder: 0.01})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	left, left2 := hostPair(t)
	right, right2 := hostPair(t)
	forward := func(dst, src interface{ CloseWrite() error }) {
		if n, err := io.Copy(dst.(io.Writer), src.(io.Reader)); n != size || err != nil {
			t.Errorf("%T to %T: %d bytes, %v", src, dst, n, err)
		}
		dst.CloseWrite()
	}
	go forward(c, left2)
	go forward(right, s)
	go forward(s, right)
	go forward(left2, c)
	for i, end := range []*net.TCPConn{left, right2} {
		go func() {
			io.Copy(end, struct{ io.Reader }{random(uint64(i), size)})
			end.CloseWrite()
		}()
	}
	for i, end := range []*net.TCPConn{right2, left} {
		got, want := sha256.New(), sha256.New()
		io.Copy(want, random(uint64(i), size))
		end.SetReadDeadline(time.Now().Add(30 * time.Second))
		if n, err := io.Copy(got, struct{ io.Reader }{end}); n != size || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if string(got.Sum(nil)) != string(want.Sum(nil)) {
			t.Error("other bytes arrived")
		}
	}
}

// A copy ends when either side does.
func TestCopyEnds(t *testing.T) {
	p := newPairBudget(t, fault{}, 4<<20)
	t.Run("stream closed while full", func(t *testing.T) {
		c, s := join(t, p)
		defer s.Close()
		in, in2 := hostPair(t)
		go io.Copy(in, struct{ io.Reader }{random(1, 64<<20)})
		err := blocked(t, func() error { _, err := io.Copy(c, in2); return err }, func() { awaitFull(t, c); c.Close() })
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("copy: %v, want net.ErrClosed", err)
		}
	})
	t.Run("socket closed while empty", func(t *testing.T) {
		c, s := join(t, p)
		defer s.Close()
		defer c.Close()
		_, in2 := hostPair(t)
		err := blocked(t, func() error { _, err := io.Copy(c, in2); return err }, func() { in2.Close() })
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("copy: %v, want net.ErrClosed", err)
		}
	})
	t.Run("stream closed while empty", func(t *testing.T) {
		c, s := join(t, p)
		defer s.Close()
		out, _ := hostPair(t)
		err := blocked(t, func() error { _, err := io.Copy(out, c); return err }, func() { c.Close() })
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("copy: %v, want net.ErrClosed", err)
		}
	})
	t.Run("reader gone", func(t *testing.T) {
		c, s := join(t, p)
		defer s.Close()
		defer c.Close()
		out, out2 := hostPair(t)
		out2.SetLinger(0)
		out2.Close()
		go io.Copy(s, random(1, 64<<20))
		_, err := io.Copy(out, c)
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("copy: %v, want ECONNRESET or EPIPE", err)
		}
	})
}
