package proto

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
)

// pair returns the two ends of a session; client is a, server b.
func pair(t testing.TB) (client, server *Session) {
	t.Helper()
	a, b := identity(t, 0x11), identity(t, 0x22)
	ca, cb := net.Pipe()
	defer ca.Close()
	defer cb.Close()
	done := make(chan error, 1)
	go func() {
		var err error
		server, err = b.AcceptSession(t.Context(), cb)
		done <- err
	}()
	client, err := a.DialSession(t.Context(), ca, b.PubKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client, server
}

// TestSurplusStaysInConn: a client that does not leave the gap is refused by
// deployed relays; ours finds what it sent behind the handshake.
func TestSurplusStaysInConn(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client := make(chan error, 1)
	go func() { client <- hasty(a, b.PubKey(), ln.Addr().String()) }()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := b.AcceptSession(t.Context(), conn)
	if err != nil || s.Remote() != a.PubKey() {
		t.Fatalf("%v, %v", s, err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "yamux" {
		t.Errorf("behind the handshake: %q, %v", got, err)
	}
	if err := <-client; err != nil {
		t.Error(err)
	}
}

// hasty sends message 3 and what follows in one segment.
func hasty(id *Identity, server cipher.PubKey, addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	h, err := noise.NewHandshake(noise.Config{Pattern: noise.XK, Initiator: true, Static: id.static, Peer: server})
	if err != nil {
		return err
	}
	if err := writeMessage(conn, h); err != nil {
		return err
	}
	if err := readMessage(conn, h); err != nil {
		return err
	}
	var last bytes.Buffer
	if err := writeMessage(&last, h); err != nil {
		return err
	}
	_, err = conn.Write(append(last.Bytes(), "yamux"...))
	return err
}

func TestSessionHandshakeRefusals(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	badPoint := append([]byte{0, 49, 2}, bytes.Repeat([]byte{0xff}, 48)...)
	for _, c := range []struct {
		name, sent string
		want       error
	}{
		{"nothing", "", io.ErrUnexpectedEOF},
		{"half a length", "\x00", io.ErrUnexpectedEOF},
		{"length 0", "\x00\x00", ErrLength},
		{"length 48", "\x00\x30" + strings.Repeat("\x02", 48), ErrLength},
		{"length 4095", "\x0f\xff", ErrLength},
		{"length 65535", "\xff\xff", ErrLength},
		{"half a message", "\x00\x31\x02\x03", io.ErrUnexpectedEOF},
		{"no point of the curve", string(badPoint), noise.ErrMessage},
		{"HTTP", "GET / HTTP/1.1\r\nHost: relay\r\n\r\n", ErrLength},
		{"garbage", "\x00\x31" + strings.Repeat("\x02", 49), noise.ErrMessage},
	} {
		for _, dialled := range []bool{false, true} {
			ours, theirs := net.Pipe()
			go func() {
				if dialled {
					_, _ = io.CopyN(io.Discard, theirs, 51)
				}
				_, _ = io.WriteString(theirs, c.sent)
				theirs.Close()
			}()
			var err error
			if dialled {
				_, err = a.DialSession(t.Context(), ours, b.PubKey())
			} else {
				_, err = b.AcceptSession(t.Context(), ours)
			}
			ours.Close()
			if !errors.Is(err, c.want) {
				t.Errorf("%s (dialled %v): %v, want %v", c.name, dialled, err, c.want)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "dmsg: session handshake") || strings.Count(err.Error(), "dmsg:") > 1) {
				t.Errorf("%s: text %q", c.name, err)
			}
		}
	}
}

// TestWrongServerKey: the relay is not the one whose key we have.
func TestWrongServerKey(t *testing.T) {
	a, b, c := identity(t, 0x11), identity(t, 0x22), identity(t, 0x33)
	ca, cb := net.Pipe()
	defer ca.Close()
	accepted := make(chan error, 1)
	go func() {
		_, err := b.AcceptSession(t.Context(), cb)
		cb.Close()
		accepted <- err
	}()
	if _, err := a.DialSession(t.Context(), ca, c.PubKey()); err == nil || !strings.Contains(err.Error(), c.PubKey().String()) {
		t.Errorf("dialled: %v", err)
	}
	if err := <-accepted; !errors.Is(err, noise.ErrMessage) {
		t.Errorf("accepted: %v", err)
	}
}

// TestSlowHandshake drips a byte a second, at each stage, and never ends.
func TestSlowHandshake(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := identity(t, 0x11), identity(t, 0x22)
			ours, theirs := net.Pipe()
			dripped := make(chan struct{})
			go func() {
				defer close(dripped)
				if dialled {
					_, _ = io.CopyN(io.Discard, theirs, 51)
				}
				for _, c := range append([]byte{0, 49}, make([]byte, 49)...) {
					time.Sleep(time.Second)
					if _, err := theirs.Write([]byte{c}); err != nil {
						return
					}
				}
			}()
			start := time.Now()
			var err error
			if dialled {
				_, err = a.DialSession(t.Context(), ours, b.PubKey())
			} else {
				_, err = b.AcceptSession(t.Context(), ours)
			}
			if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != HandshakeTimeout {
				t.Errorf("dialled %v: %v after %v", dialled, err, took)
			}
			ours.Close()
			theirs.Close()
			<-dripped
		})
	}
}

func TestHandshakeEndsWithContext(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := identity(t, 0x11), identity(t, 0x22)
			ours, theirs := net.Pipe()
			cause := errors.New("had enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			defer cancel()
			start := time.Now()
			var err error
			if dialled {
				_, err = a.DialSession(ctx, ours, b.PubKey())
			} else {
				_, err = b.AcceptSession(ctx, ours)
			}
			if took := time.Since(start); !errors.Is(err, cause) || took != time.Second {
				t.Errorf("dialled %v: %v after %v", dialled, err, took)
			}
			ours.Close()
			theirs.Close()
		})
	}
}

// TestDialLeavesGap: with 80 ms of round trip, message 3 and the first byte behind
// it are more than that apart; and no deadline stays behind on conn.
func TestDialLeavesGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := identity(t, 0x11), identity(t, 0x22)
		ca, cb := net.Pipe()
		defer ca.Close()
		defer cb.Close()
		const rtt = 80 * time.Millisecond
		finished := make(chan time.Time, 1)
		go func() {
			_, err := b.AcceptSession(t.Context(), slow{cb, rtt})
			if err != nil {
				t.Error(err)
			}
			finished <- time.Now()
		}()
		s, err := a.DialSession(t.Context(), ca, b.PubKey())
		if err != nil {
			t.Fatal(err)
		}
		if gap := time.Since(<-finished); gap != rtt+gapMargin {
			t.Errorf("gap of %v", gap)
		}
		if s.RTT() != rtt {
			t.Errorf("RTT %v", s.RTT())
		}
		time.Sleep(time.Hour)
		go func() { _, _ = cb.Write([]byte("x")) }()
		if _, err := ca.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}

// slow answers a round trip later.
type slow struct {
	net.Conn
	rtt time.Duration
}

func (c slow) Write(b []byte) (int, error) {
	time.Sleep(c.rtt)
	return c.Conn.Write(b)
}

func TestClosedConn(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	ca, cb := net.Pipe()
	ca.Close()
	cb.Close()
	if _, err := a.DialSession(t.Context(), ca, b.PubKey()); err == nil {
		t.Error("dialled over a closed connection")
	}
	if _, err := a.AcceptSession(t.Context(), ca); err == nil {
		t.Error("accepted over a closed connection")
	}
}
