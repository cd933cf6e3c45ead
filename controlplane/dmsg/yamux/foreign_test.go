package yamux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	hashicorp "github.com/hashicorp/yamux"
)

// A peer is a session of somebody's, as far as both kinds have it in common.
type peer struct {
	name   string
	open   func() (net.Conn, error)
	accept func() (net.Conn, error)
}

func ourPeer(t *testing.T, s *Session) peer {
	return peer{"ours",
		func() (net.Conn, error) { return s.Open(t.Context()) },
		func() (net.Conn, error) { return s.Accept(t.Context()) }}
}

func foreignPeer(s *hashicorp.Session) peer {
	return peer{"foreign",
		func() (net.Conn, error) { return s.OpenStream() },
		func() (net.Conn, error) { return s.AcceptStream() }}
}

// TestForeign carries data between our sessions and those of the library that the
// deployed network runs, in both roles, opened by either side, with and without wide
// windows on our side.
func TestForeign(t *testing.T) {
	for _, role := range []string{"client", "server"} {
		for _, budget := range []int64{0, 64 << 20} {
			t.Run(role+map[bool]string{true: ", wide"}[budget > 0], func(t *testing.T) {
				a, b := tcpPair(t)
				ours := start(t, a, Config{Client: role == "client", Budget: NewBudget(budget)})
				theirs := foreign(t, b, role != "client")
				us, them := ourPeer(t, ours), foreignPeer(theirs)
				var wg sync.WaitGroup
				for i := range 4 {
					wg.Go(func() { converse(t, us, them, i) })
				}
				wg.Wait()
				for i := range 4 {
					wg.Go(func() { converse(t, them, us, i) })
				}
				wg.Wait()
				waitFor(t, "all streams to leave our table", func() bool { return ours.NumStreams() == 0 })
				waitFor(t, "all streams to leave theirs", func() bool { return theirs.NumStreams() == 0 })
				if _, err := theirs.Ping(); err != nil {
					t.Errorf("their ping: %v", err)
				}
				if _, err := ours.Ping(t.Context()); err != nil {
					t.Errorf("our ping: %v", err)
				}
			})
		}
	}
}

// converse opens a stream, sends several windows both ways at once and closes it.
func converse(t *testing.T, from, to peer, i int) {
	const size = 3*InitialWindow + 12345
	a, err := from.open()
	if err != nil {
		t.Errorf("%s: open: %v", from.name, err)
		return
	}
	b, err := to.accept()
	if err != nil {
		t.Errorf("%s: accept: %v", to.name, err)
		return
	}
	var wg sync.WaitGroup
	// Streams may be accepted in another order than their opens returned in: all
	// send the same.
	want := pattern(size, 1)
	for _, c := range []struct {
		name string
		conn net.Conn
	}{{from.name, a}, {to.name, b}} {
		wg.Go(func() {
			if n, err := c.conn.Write(want); n != size || err != nil {
				t.Errorf("%s %d: wrote %d bytes, %v", c.name, i, n, err)
			}
		})
		wg.Go(func() {
			got := make([]byte, size)
			if n, err := io.ReadFull(c.conn, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s %d: read %d bytes, %v; want what was sent", c.name, i, n, err)
			}
		})
	}
	wg.Wait()
	for _, c := range []net.Conn{a, b} {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// TestForeignHalfClose: their stream stays writable after our FIN.
func TestForeignHalfClose(t *testing.T) {
	a, b := tcpPair(t)
	ours, theirs := start(t, a, Config{Client: true}), foreign(t, b, false)
	x, err := ours.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := x.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	y, err := theirs.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(y); string(got) != "question" || err != nil {
		t.Fatalf("they read %q, %v", got, err)
	}
	if _, err := y.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := y.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(x); string(got) != "answer" || err != nil {
		t.Fatalf("we read %q, %v", got, err)
	}
	if _, err := x.Write([]byte("more")); !errors.Is(err, ErrWriteClosed) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
}

// TestForeignReset: a reset ends one stream of theirs and nothing else.
func TestForeignReset(t *testing.T) {
	a, b := tcpPair(t)
	ours, theirs := start(t, a, Config{Client: true}), foreign(t, b, false)
	us, them := ourPeer(t, ours), foreignPeer(theirs)
	x, err := us.open()
	if err != nil {
		t.Fatal(err)
	}
	y, err := them.accept()
	if err != nil {
		t.Fatal(err)
	}
	x.(*Stream).Reset()
	if _, err := y.Read(make([]byte, 1)); !errors.Is(err, hashicorp.ErrConnectionReset) {
		t.Errorf("they read: %v, want their reset error", err)
	}
	if _, err := x.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("we read after Reset: %v, want net.ErrClosed", err)
	}
	converse(t, us, them, 0)
}

// TestForeignGoAway: go-aways are understood both ways.
func TestForeignGoAway(t *testing.T) {
	a, b := tcpPair(t)
	ours, theirs := start(t, a, Config{Client: true}), foreign(t, b, false)
	us, them := ourPeer(t, ours), foreignPeer(theirs)
	if err := theirs.GoAway(); err != nil {
		t.Fatal(err)
	}
	<-ours.GoneAway()
	if _, err := us.open(); !errors.Is(err, ErrGoAway) {
		t.Errorf("Open after their go-away: %v", err)
	}
	converse(t, them, us, 0) // the other direction is not touched
	ours.GoAway()
	waitFor(t, "them to notice our go-away", func() bool {
		st, err := theirs.OpenStream()
		if err == nil {
			st.Close()
		}
		return errors.Is(err, hashicorp.ErrRemoteGoAway)
	})
}
