//go:build e2e && linux

package e2e

import (
	"bytes"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// A service takes files over TCP: it reads each connection to its end and answers
// with the SHA-256 of what came.
type service struct {
	net.Listener
	received atomic.Int64 // bytes of all connections
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

// serve starts a service in a visor's namespace.
func (n *node) serve() *service {
	n.rig.t.Helper()
	ln, err := n.ns.Listen("127.0.0.1:0")
	if err != nil {
		n.rig.t.Fatal(err)
	}
	return startService(n.rig.t, ln)
}

// startService runs a service until the test ends.
func startService(t *testing.T, ln net.Listener) *service {
	s := &service{Listener: ln}
	s.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.closed {
				conn.Close()
			}
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.wg.Go(func() { s.take(conn) })
		}
	})
	t.Cleanup(s.end)
	return s
}

// end ends the service, and connections that somebody has left.
func (s *service) end() {
	s.Close()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// take takes one file. What breaks is seen at the other end, which gets no sum.
func (s *service) take(conn net.Conn) {
	defer conn.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, s), conn); err == nil {
		conn.Write(h.Sum(nil))
	}
}

// Write counts.
func (s *service) Write(b []byte) (int, error) {
	s.received.Add(int64(len(b)))
	return len(b), nil
}

// expose makes a service of n's namespace reachable on a port of n's key. flags say
// for whom.
func (n *node) expose(s *service, port int, flags ...string) {
	n.rig.t.Helper()
	n.ctl(append([]string{"forward", "add", "--expose", s.Addr().String(), "--port", strconv.Itoa(port)}, flags...)...)
}

// reach opens a local port of n for a port of another key and returns its address.
// A visor may have it once: its name is local.
func (n *node) reach(to *node, port int, flags ...string) string {
	n.rig.t.Helper()
	local := "127.0.0.1:" + strconv.Itoa(9000+port)
	n.ctl(append([]string{"forward", "add", "--reach", api.Peer(to.PK, uint16(port)), "--local", local}, flags...)...)
	return local
}

// A transfer is a file on its way: random bytes, as many as were asked for or until
// finish is called.
type transfer struct {
	sent atomic.Int64
	stop atomic.Bool
	done chan error
}

// patience bounds how long a client waits for a stream that does not move.
const patience = time.Minute

var errSum = errors.New("SHA-256 differs")

// endless is the size of a file that ends with finish.
const endless = 1 << 62

// send begins to send a file to the service behind addr.
func (n *node) send(addr string, size int64) *transfer {
	n.rig.t.Helper()
	conn, err := n.Place.Dial(addr)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	return startTransfer(conn, size)
}

// startTransfer sends a file on conn, which it closes.
func startTransfer(conn net.Conn, size int64) *transfer {
	x := &transfer{done: make(chan error, 1)}
	go func() {
		err := x.run(conn, size)
		conn.Close()
		x.done <- err
	}()
	return x
}

func (x *transfer) run(conn net.Conn, size int64) error {
	var seed [32]byte
	crand.Read(seed[:])
	random := rand.NewChaCha8(seed) // so that nothing on the way can be clever
	h := sha256.New()
	buf := make([]byte, 64<<10)
	for size > 0 && !x.stop.Load() {
		b := buf[:min(size, int64(len(buf)))]
		random.Read(b)
		h.Write(b)
		conn.SetDeadline(time.Now().Add(patience))
		n, err := conn.Write(b)
		x.sent.Add(int64(n))
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", x.sent.Load(), err)
		}
		size -= int64(n)
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("%T does not close by halves", conn)
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("waiting for the sum of %d bytes: %w", x.sent.Load(), err)
	}
	if want := h.Sum(nil); !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %x arrived, %x was sent, %d bytes", errSum, got, want, x.sent.Load())
	}
	return nil
}

// finish ends an endless file and returns how the transfer went.
func (x *transfer) finish() error {
	x.stop.Store(true)
	return <-x.done
}

// TestTransfer: what arrives changed is noticed. It needs no visor:
//
//	client ── flips one bit ── service
func TestTransfer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := startService(t, ln)
	for _, mask := range []byte{0, 1} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = <-startTransfer(&flipping{conn.(*net.TCPConn), mask}, 1<<20).done
		if want := mask != 0; errors.Is(err, errSum) != want || !want && err != nil {
			t.Errorf("mask %d: %v", mask, err)
		}
	}
}

// flipping changes the first byte of what is written.
type flipping struct {
	*net.TCPConn
	mask byte
}

func (f *flipping) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	b[0] ^= f.mask
	return f.TCPConn.Write(b)
}
