package httpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// A short listener lacks files at first: Accept fails with errs before it accepts.
type short struct {
	net.Listener
	errs []error
}

func (l *short) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A lack of files ended the server, and with it a whole deployment.
func TestServeWithoutFiles(t *testing.T) {
	l := listen(t)
	lack := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	s := NewServer("x", func(rc *fasthttp.RequestCtx) { rc.SetBodyString("served") }, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, s, &short{l, []error{lack, lack, syscall.ECONNABORTED}}) }()
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if string(body) != "served" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What does not pass ends it.
func TestServeBroken(t *testing.T) {
	broken := errors.New("broken")
	s := NewServer("x", func(*fasthttp.RequestCtx) {}, zerolog.Nop())
	if err := Serve(t.Context(), s, &short{listen(t), []error{syscall.EMFILE, broken}}); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// With more connections than wanted each ends after its answer.
func TestCrowded(t *testing.T) {
	l := listen(t)
	s := NewServer("x", func(*fasthttp.RequestCtx) {}, zerolog.Nop())
	s.Handler = relieved(s, func(*fasthttp.RequestCtx) {}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, s, l) }()
	ask := func(c net.Conn) (closes bool) {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.Close
	}
	var conns []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		if closes := ask(c); closes != (len(conns) > 1) {
			t.Errorf("connection %d: closed after the answer: %t", len(conns), closes)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
