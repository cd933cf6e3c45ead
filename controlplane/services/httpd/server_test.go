package httpd

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// A connection on which nothing comes ends with 408, which a client that sends its
// request at that very moment does not take for the answer.
func TestSilentConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer("x", func(*fasthttp.RequestCtx) {}, zerolog.Nop())
	s.ReadTimeout = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, s, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for send, want := range map[string]string{"": "HTTP/1.1 408 ", "GET / HT": "HTTP/1.1 408 ", "nonsense\r\n\r\n": "HTTP/1.1 400 "} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, send)
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		got, err := io.ReadAll(c)
		c.Close()
		if err != nil || !strings.HasPrefix(string(got), want) || !strings.Contains(string(got), "Connection: close") {
			t.Errorf("after %q: %q, %v, want %s", send, got, err, want)
		}
	}
}
