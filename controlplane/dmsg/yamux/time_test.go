package yamux

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// muted is a peer that reads all, on the clock of the test's bubble, and sends what
// the test has it send.
func muted(t *testing.T, cfg Config) (*Session, *rawPeer) {
	t.Helper()
	a, b := simPair(time.Millisecond, 1e9)
	s := start(t, a, cfg)
	t.Cleanup(func() { b.Close() })
	return s, &rawPeer{t, b}
}

// TestKeepAlive: pings go out at their interval, and silence ends the session.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := muted(t, Config{Client: true})
		begin := time.Now()
		for i := range 3 {
			h, err := p.next()
			if err != nil || h.Type != TypePing || h.Flags != FlagSYN {
				t.Fatalf("%+v, %v, want a ping", h, err)
			}
			want := time.Duration(i+1)*defaultKeepAlive + time.Duration(i)*defaultWriteTimeout
			if at := time.Since(begin).Round(time.Second); at != want {
				t.Errorf("ping %d after %v, want %v", i, at, want)
			}
			switch i {
			case 0: // the answer
				p.send(Header{Type: TypePing, Flags: FlagACK, Length: h.Length}, "")
			case 1: // anything else is a sign of life too
				p.send(Header{Type: TypePing, Flags: FlagSYN, Length: 1}, "")
				p.want(Header{Type: TypePing, Flags: FlagACK, Length: 1})
			}
		}
		last := time.Now()
		<-s.Done()
		if took := time.Since(last).Round(time.Second); took != defaultWriteTimeout || !errors.Is(s.Err(), ErrKeepAlive) {
			t.Errorf("ended %v after the last ping with %v, want ErrKeepAlive after %v", took, s.Err(), defaultWriteTimeout)
		}
	})
}

// TestOpenTimeout: a stream that is never acknowledged dies alone.
func TestOpenTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := muted(t, Config{Client: true, KeepAlive: -1, OpenTimeout: 5 * time.Second, AcceptBacklog: 2})
		begin := time.Now()
		lost, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.send(Header{Type: TypeWindowUpdate, Flags: FlagACK, StreamID: taken.ID()}, "")
		if _, err := lost.Read(make([]byte, 1)); !errors.Is(err, ErrOpenTimeout) || time.Since(begin) != 5*time.Second {
			t.Errorf("after %v: %v, want ErrOpenTimeout after 5 s", time.Since(begin), err)
		}
		p.want(rst(lost.ID()))
		if !taken.Established() || s.Err() != nil || s.NumStreams() != 1 {
			t.Errorf("other stream established: %v, session: %v, %d streams", taken.Established(), s.Err(), s.NumStreams())
		}
		for range 2 { // both places are free again
			st, err := s.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			st.Reset()
		}
	})
}

// TestCloseTimeout: a peer that never closes its side is reset.
func TestCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := muted(t, Config{Client: true, KeepAlive: -1})
		st, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.send(Header{Type: TypeWindowUpdate, Flags: FlagACK, StreamID: 1}, "")
		synctest.Wait()
		begin := time.Now()
		st.Close()
		p.want(Header{Type: TypeWindowUpdate, Flags: FlagFIN, StreamID: 1})
		p.want(rst(1))
		if took := time.Since(begin).Round(time.Second); took != defaultCloseTimeout || s.NumStreams() != 0 {
			t.Errorf("reset after %v, %d streams left", took, s.NumStreams())
		}
	})
}

// TestWriteTimeout: a peer that takes nothing is given up, a slow one is not.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := simPair(time.Millisecond, 1e3) // 64 KiB take a minute
		c, s := start(t, a, Config{Client: true, KeepAlive: -1}), start(t, b, Config{KeepAlive: -1})
		x, y := streams(t, c, s)
		go x.Write(make([]byte, 128<<10))
		if _, err := io.ReadFull(y, make([]byte, 128<<10)); err != nil {
			t.Errorf("over a slow connection: %v", err)
		}
		a.(*simConn).jam()
		begin := time.Now()
		if _, err := x.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		<-c.Done()
		if took := time.Since(begin); took != defaultWriteTimeout || !errors.Is(c.Err(), os.ErrDeadlineExceeded) {
			t.Errorf("ended after %v with %v, want %v", took, c.Err(), defaultWriteTimeout)
		}
	})
}

// TestDeadlines: the deadlines of a stream work while the connection is jammed and
// credit is used up, and can be moved while somebody waits.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := muted(t, Config{Client: true, KeepAlive: -1})
		begin := time.Now()
		expired := func(what string, after time.Duration, err error) {
			t.Helper()
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s: %v, want a time-out", what, err)
			}
			if at := time.Since(begin); at != after {
				t.Errorf("%s: after %v, want %v", what, at, after)
			}
		}
		open := func() *Stream {
			t.Helper()
			st, err := s.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		st := open()
		st.SetDeadline(begin.Add(time.Second))
		n, err := st.Write(make([]byte, InitialWindow+1))
		expired("write without credit", time.Second, err)
		if n != InitialWindow {
			t.Errorf("wrote %d bytes, want %d", n, InitialWindow)
		}
		_, err = st.Read(make([]byte, 1))
		expired("read", time.Second, err)

		st.SetReadDeadline(begin.Add(3 * time.Second))
		time.AfterFunc(time.Second, func() { st.SetReadDeadline(begin.Add(5 * time.Second)) })
		_, err = st.Peek(10)
		expired("peek with a moved deadline", 5*time.Second, err)

		s.conn.(*simConn).jam()
		st = open()
		st.SetWriteDeadline(begin.Add(6 * time.Second))
		full := open()
		full.SetWriteDeadline(begin.Add(6 * time.Second))
		go full.Write(make([]byte, InitialWindow))
		synctest.Wait()
		_, err = st.Write(make([]byte, InitialWindow))
		expired("write without room", 6*time.Second, err)
		s.out.room.mu.Lock()
		if s.out.room.head != nil {
			t.Error("somebody is still in line for room")
		}
		s.out.room.mu.Unlock()
	})
}

// TestCloseFlushes: Close of the session lets out what was written.
func TestCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := simPair(50*time.Millisecond, 2e5) // 100 KB take half a second; no grant is due
		c, s := start(t, a, Config{Client: true}), start(t, b, Config{})
		x, y := streams(t, c, s)
		if _, err := x.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if err := x.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got, err := io.ReadAll(y); len(got) != 100_000 || err != nil {
			t.Errorf("read %d bytes, %v, want all 100000", len(got), err)
		}
	})
}
