package yamux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// TestNetConn runs the net.Conn suite over a real connection, and over one without a
// descriptor to write to.
func TestNetConn(t *testing.T) {
	pairs := map[string]func(t testing.TB) (a, b net.Conn){
		"tcp":  tcpPair,
		"pipe": func(testing.TB) (a, b net.Conn) { return net.Pipe() },
	}
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				a, b := pair(t)
				c, err := New(a, Config{Client: true})
				if err != nil {
					return nil, nil, nil, err
				}
				s, err := New(b, Config{})
				if err != nil {
					return nil, nil, nil, err
				}
				x, err := c.Open(t.Context())
				if err != nil {
					return nil, nil, nil, err
				}
				y, err := s.Accept(t.Context())
				return x, y, func() { c.Close(); s.Close() }, err
			})
		})
	}
}

// TestMany sends on many streams in both directions at once.
func TestMany(t *testing.T) {
	const n, size = 32, 700_001
	c, s := sessions(t, Config{}, Config{})
	var wg sync.WaitGroup
	for i := range n {
		a, b := streams(t, c, s)
		for _, st := range []*Stream{a, b} {
			wg.Go(func() {
				if _, err := st.Write(pattern(size, byte(i))); err != nil {
					t.Errorf("stream %d: write: %v", st.ID(), err)
				}
				if err := st.CloseWrite(); err != nil {
					t.Errorf("stream %d: close write: %v", st.ID(), err)
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(st)
				if err != nil || !bytes.Equal(got, pattern(size, byte(i))) {
					t.Errorf("stream %d: read %d bytes, %v; want the %d sent", st.ID(), len(got), err, size)
				}
			})
		}
	}
	wg.Wait()
	for _, s := range []*Session{c, s} {
		waitFor(t, "all streams to leave the table", func() bool { return s.NumStreams() == 0 })
	}
}

// TestClosed checks that everybody who waits learns that the session has ended, and
// what for.
func TestClosed(t *testing.T) {
	c, s := sessions(t, Config{}, Config{})
	a, b := streams(t, c, s)
	errs := make(chan error, 3)
	go func() { _, err := b.Read(make([]byte, 1)); errs <- err }()
	go func() { _, err := b.Write(make([]byte, InitialWindow+1)); errs <- err }()
	go func() { _, err := s.Accept(t.Context()); errs <- err }()
	waitFor(t, "the window to fill", func() bool { return a.Buffered() == InitialWindow })
	c.Close()
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, ErrSessionClosed) {
			t.Errorf("error %v, want ErrSessionClosed", err)
		}
	}
	<-s.Done()
	if err := s.Err(); !errors.Is(err, ErrSessionClosed) {
		t.Errorf("Err() = %v", err)
	}
	if _, err := c.Open(t.Context()); !errors.Is(err, ErrSessionClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Open after Close: %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, ErrSessionClosed) {
		t.Errorf("Write after the session's Close: %v", err)
	}
}

// waitFor waits until ok says so.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
