package iperf

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns the two ends of a TCP connection, whose buffers tests need.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if client, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

type outcome struct {
	dir Direction
	r   Report
	err error
}

// handle serves conn in the background.
func handle(ctx context.Context, s *Server, conn net.Conn) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		dir, r, err := s.Handle(ctx, conn)
		conn.Close()
		done <- outcome{dir, r, err}
	}()
	return done
}

func TestRun(t *testing.T) {
	for _, dir := range []Direction{Up, Down} {
		t.Run(dir.String(), func(t *testing.T) {
			client, server := pair(t)
			done := handle(t.Context(), &Server{MaxDuration: time.Second, MaxTests: 1}, server)
			var count atomic.Uint64
			r, err := Run(t.Context(), client, dir, 50*time.Millisecond, &count)
			if err != nil {
				t.Fatal(err)
			}
			o := <-done
			if o.err != nil || o.dir != dir || o.r.Bytes != r.Bytes || count.Load() != r.Bytes || r.Bytes == 0 || r.Duration <= 0 {
				t.Errorf("client %+v and %d on the way, server %+v", r, count.Load(), o)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	client, server := pair(t)
	done := handle(t.Context(), &Server{MaxDuration: 10 * time.Millisecond, MaxTests: 1}, server)
	if _, err := Run(t.Context(), client, Up, time.Second, new(atomic.Uint64)); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v, want ErrTooLong", err)
	}
	if o := <-done; !errors.Is(o.err, ErrTooLong) {
		t.Errorf("server: %v", o.err)
	}

	s := &Server{MaxDuration: time.Minute, MaxTests: 1}
	ctx, cancel := context.WithCancel(t.Context())
	first, at := pair(t)
	busy := handle(ctx, s, at)
	running := make(chan error, 1)
	var count atomic.Uint64
	go func() {
		_, err := Run(ctx, first, Up, time.Minute, &count)
		running <- err
	}()
	for count.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	client, server = pair(t)
	done = handle(t.Context(), s, server)
	if _, err := Run(t.Context(), client, Up, time.Second, new(atomic.Uint64)); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	<-done
	cancel() // which ends both at once
	if o := <-busy; o.err == nil {
		t.Error("the server's end of a cancelled test has no error")
	}
	if err := <-running; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if n := s.running.Load(); n != 0 {
		t.Errorf("%d tests run after their end", n)
	}
}

// The bytes are worked out by hand from the package comment.
func TestHello(t *testing.T) {
	const want = "736b79697065726601020000" + "00000bb8"
	if got := hex.EncodeToString((hello{Down, 3 * time.Second}).append(nil)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	tests := []struct {
		text string
		want error
	}{
		{want, nil},
		{"736b79697065726602020000" + "00000bb8", ErrVersion},
		{"736b79697065726601030000" + "00000bb8", ErrProtocol},
		{"736b79697065726601000000" + "00000bb8", ErrProtocol},
		{"736b79697065726601020001" + "00000bb8", ErrProtocol},
		{"736b79697065726601020000" + "00000000", ErrProtocol},
		{"474554202f20485454502f312e310d0a", ErrProtocol},
	}
	for _, tt := range tests {
		b, err := hex.DecodeString(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseHello(b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.text, err, tt.want)
		}
	}
}

// TestHostile: nothing that a peer sends takes more than its stream.
func TestHostile(t *testing.T) {
	hello := (hello{Up, time.Second}).append(nil)
	tests := []struct {
		name string
		sent []byte
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"half a hello", hello[:9], io.ErrUnexpectedEOF},
		{"another protocol", []byte("GET / HTTP/1.1\r\n"), ErrProtocol},
		{"no end", hello, io.ErrUnexpectedEOF},
		{"half a length", append(bytes.Clone(hello), 0, 0), io.ErrUnexpectedEOF},
		{"half a block", append(bytes.Clone(hello), 0, 0, 0, 9, 1), io.ErrUnexpectedEOF},
		{"a block too long", append(bytes.Clone(hello), 0, 16, 0, 1), ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := pair(t)
			done := handle(t.Context(), &Server{MaxDuration: time.Minute, MaxTests: 1}, server)
			if _, err := client.Write(tt.sent); err != nil {
				t.Fatal(err)
			}
			client.(*net.TCPConn).CloseWrite()
			if o := <-done; !errors.Is(o.err, tt.want) {
				t.Errorf("%v, want %v", o.err, tt.want)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2, 1, 2, 0, 0, 0, 0})
	f.Add([]byte{0, 16, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var count atomic.Uint64
		r, err := receive(bytes.NewReader(b), &count)
		if r.Bytes != count.Load() || r.Bytes > uint64(len(b)) || err == nil && len(b) < 4 {
			t.Errorf("%d bytes of %d, %d counted, %v", r.Bytes, len(b), count.Load(), err)
		}
		if len(b) >= helloLen {
			if h, err := parseHello(b[:helloLen]); err == nil && !bytes.Equal(h.append(nil), b[:helloLen]) {
				t.Errorf("%x is parsed as %+v", b[:helloLen], h)
			}
		}
		if len(b) >= reportLen {
			if r, err := readReport(bytes.NewReader(b)); err == nil && !bytes.Equal(r.append(nil), b[:reportLen]) {
				t.Errorf("%x is parsed as %+v", b[:reportLen], r)
			}
		}
	})
}
