package dmsgctrl

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs Serve and returns where; the test's end is its end.
func serve(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := Serve(ctx, lis); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	return lis.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestPing(t *testing.T) {
	conn := dial(t, serve(t))
	for range 3 {
		if rtt, err := Ping(t.Context(), conn); err != nil || rtt <= 0 {
			t.Fatal(rtt, err)
		}
	}
}

// TestBytes: what the deployed software would send, byte for byte.
func TestBytes(t *testing.T) {
	tests := []struct{ name, sent, want string }{
		{"one", "\x09", "\x0a"},
		{"several at once", "\x09\x09\x09", "\x0a\x0a\x0a"},
		{"another byte ends it", "\x09\x0b\x09", "\x0a"},
		{"at once", "GET / HTTP/1.1\r\n\r\n", ""},
	}
	addr := serve(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, addr)
			if _, err := io.WriteString(conn, tt.sent); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(conn); string(got) != tt.want { // a reset is as good as an end
				t.Errorf("%q is answered by %q, want %q", tt.sent, got, tt.want)
			}
		})
	}
}

func TestWrongAnswer(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		var buf [1]byte
		b.Read(buf[:])
		b.Write(buf[:])
	}()
	if _, err := Ping(t.Context(), a); !errors.Is(err, ErrProtocol) {
		t.Errorf("an echo: %v, want ErrProtocol", err)
	}
}

func TestNoAnswer(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { io.Copy(io.Discard, b) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Ping(ctx, a); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's end", err)
	}
}

// TestFull: streams beyond the limit are closed, and a place that is free again is
// given away.
func TestFull(t *testing.T) {
	addr := serve(t)
	conns := make([]net.Conn, maxStreams)
	for i := range conns {
		conns[i] = dial(t, addr)
		if _, err := Ping(t.Context(), conns[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Ping(t.Context(), dial(t, addr)); err == nil {
		t.Error("one more than the limit was answered")
	}
	conns[0].Close()
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := Ping(t.Context(), dial(t, addr)); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal("the place is not given away: ", err)
		}
	}
}
