package api

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A far visor is served over pipes, whose dialer's key is what caller says.
type far struct {
	*fake
	ln     *pipes
	caller cipher.PubKey
	asked  cipher.PubKey
}

// Pass makes the call at the other end of a pipe.
func (f *far) Pass(_ context.Context, pk cipher.PubKey, c Call) (Answer, error) {
	f.asked = pk
	var rq fasthttp.Request
	var rs fasthttp.Response
	rq.Header.SetMethod(c.Method)
	rq.SetRequestURI("http://far" + c.Path)
	rq.SetBody(c.Body)
	client := fasthttp.HostClient{Addr: "far", Dial: func(string) (net.Conn, error) { return f.ln.dial(f.caller) }}
	defer client.CloseIdleConnections()
	if err := client.Do(&rq, &rs); err != nil {
		return Answer{}, ErrUnreachable.With("%v", err)
	}
	return Answer{rs.StatusCode(), rs.Body()}, nil
}

// pipes is a listener whose connections know the dialer's key.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

type keyAddr cipher.PubKey

func (keyAddr) Network() string { return "pipe" }
func (keyAddr) String() string  { return "pipe" }

type keyConn struct {
	net.Conn
	from keyAddr
}

func (c keyConn) RemoteAddr() net.Addr { return c.from }

func (p *pipes) dial(from cipher.PubKey) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- keyConn{b, keyAddr(from)}:
		return a, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return keyAddr{} }

// TestRemote: a call goes by way of the near visor to the far one, which asks who calls,
// and does not pass it further.
func TestRemote(t *testing.T) {
	operator, stranger, farKey := key(t), key(t), key(t)
	ln := &pipes{make(chan net.Conn), make(chan struct{})}
	farVisor := &fake{links: []Link{{PK: operator, Type: SUDPH}}}
	var allowed atomic.Bool
	allowed.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		keyOf := func(a net.Addr) cipher.PubKey { return cipher.PubKey(a.(keyAddr)) }
		done <- ServeRemote(ctx, ln, farVisor, keyOf, func(pk cipher.PubKey) bool { return pk == operator && allowed.Load() }, zerolog.Nop())
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	near := &far{fake: &fake{}, ln: ln, caller: operator}
	c := serve(t, near).For(farKey)

	links, err := c.Links(context.Background())
	if err != nil || len(links) != 1 || links[0].PK != operator || near.asked != farKey || near.called != "" {
		t.Errorf("links: %v, %v; asked %v, near visor did %q", links, err, near.asked, near.called)
	}
	farVisor.err = ErrConflict.With("port is taken")
	if _, err := c.Links(context.Background()); !errors.Is(err, ErrConflict) || err.Error() != "port is taken" {
		t.Errorf("an error of the far visor came as %v", err)
	}
	near.caller = stranger
	if _, err := c.Links(context.Background()); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), stranger.String()) || !strings.Contains(err.Error(), "management.allow") {
		t.Errorf("a stranger got %v", err)
	}
	near.caller = operator
	allowed.Store(false)
	if _, err := c.Links(context.Background()); !errors.Is(err, ErrDenied) {
		t.Errorf("an operator who is none any more got %v", err)
	}
	allowed.Store(true)

	// The far visor does not pass on.
	var rq fasthttp.Request
	var rs fasthttp.Response
	rq.SetRequestURI("http://far/v1/status")
	rq.Header.Set(headerVisor, stranger.String())
	client := fasthttp.HostClient{Addr: "far", Dial: func(string) (net.Conn, error) { return ln.dial(operator) }}
	defer client.CloseIdleConnections()
	if err := client.Do(&rq, &rs); err != nil || rs.StatusCode() != fasthttp.StatusBadRequest {
		t.Errorf("a call to be passed on: %v, %d %s", err, rs.StatusCode(), rs.Body())
	}
}

// A stranger who has opened a connection in advance and asks nothing hears nothing: he
// would take the answer for one to a request of his, or complain of it in his log.
func TestSilentStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, his := net.Pipe()
		pk, _ := cipher.GenerateKeyPair()
		go refuse(ours, pk)
		if got, err := io.ReadAll(his); err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
	})
}
