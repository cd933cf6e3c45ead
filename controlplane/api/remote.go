package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Port is the dmsg port on which a visor serves this API to the keys that may command
// it.
const Port = 51

// headerVisor names the visor that a call is for where it is not the one that is asked.
// A visor passes on what comes over its socket, never what comes from afar.
const headerVisor = "Sky-Visor"

// passTimeout bounds a call that is passed on; the longest ping fits in.
const passTimeout = maxPing + 5*time.Second

// Passing is how a visor's operator commands other visors.
type Passing interface {
	// Pass makes the call at the visor with key pk and returns its answer.
	Pass(ctx context.Context, pk cipher.PubKey, c Call) (Answer, error)
}

// A Call is a call as it goes over the wire.
type Call struct {
	Method string
	Path   string
	Body   []byte
}

// An Answer is what a visor says to a Call.
type Answer struct {
	Status int
	Body   []byte
}

// pass has v pass the call in rc on to the visor that its header names.
func pass(ctx context.Context, rc *fasthttp.RequestCtx, v Passing, to string) {
	pk, err := cipher.ParsePubKeyText(to)
	if err != nil {
		reply(rc, nil, ErrBadRequest.With("header %s: %q is no public key (66 hex digits): %v", headerVisor, to, err))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	a, err := v.Pass(ctx, pk, Call{string(rc.Method()), string(rc.Path()), rc.PostBody()})
	if err != nil {
		reply(rc, nil, err)
		return
	}
	rc.SetStatusCode(a.Status)
	rc.SetContentType("application/json")
	rc.SetBody(a.Body)
}

// ServeRemote is Serve for a listener of the dmsg network: it answers callers whose key
// allow admits, and refuses the others with an error that says so. keyOf returns the
// key that a connection's other end has proven.
func ServeRemote(ctx context.Context, ln net.Listener, v Visor, keyOf func(net.Addr) cipher.PubKey, allow func(cipher.PubKey) bool, log zerolog.Logger) error {
	inner := handler(ctx, v, false)
	return answer(ctx, &bouncer{Listener: ln, keyOf: keyOf, allow: allow, places: make(chan struct{}, maxRefusals)}, func(rc *fasthttp.RequestCtx) {
		pk := keyOf(rc.RemoteAddr())
		if !allow(pk) { // no longer
			reply(rc, nil, denied(pk))
			return
		}
		log.Info().Stringer("by", pk).Bytes("call", rc.Path()).Bytes("method", rc.Method()).Msg("remote command")
		inner(rc)
	}, log)
}

func denied(pk cipher.PubKey) error {
	return ErrDenied.With("this visor does not take commands from %s: its operator has to add the key to management.allow in its configuration", pk)
}

// Limits of refusals, which anybody can cause.
const (
	maxRefusals   = 8 // at once; beyond, strangers are cut off without a word
	refusalWithin = 3 * time.Second
)

// A bouncer keeps strangers from taking the places of those who may command the visor.
type bouncer struct {
	net.Listener
	keyOf  func(net.Addr) cipher.PubKey
	allow  func(cipher.PubKey) bool
	places chan struct{} // of refusals under way
}

// Accept returns the next connection of a caller who is admitted.
func (b *bouncer) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, io.EOF // which is how fasthttp knows it
		}
		if err != nil {
			return nil, err
		}
		pk := b.keyOf(conn.RemoteAddr())
		if b.allow(pk) {
			return conn, nil
		}
		select {
		case b.places <- struct{}{}:
			go func() {
				defer func() { <-b.places }()
				refuse(conn, pk)
			}()
		default:
			_ = conn.Close() // there are enough of them already
		}
	}
}

// refuse reads a request and says no.
func refuse(conn net.Conn, pk cipher.PubKey) {
	defer conn.Close() // whatever it did not hear
	server := &fasthttp.Server{
		Handler:            func(rc *fasthttp.RequestCtx) { reply(rc, nil, denied(pk)); rc.SetConnectionClose() },
		ReadTimeout:        refusalWithin,
		WriteTimeout:       refusalWithin,
		MaxRequestBodySize: maxRequest,
		ReduceMemoryUsage:  true, // with it fasthttp closes a silent connection without a word
		NoDefaultDate:      true,
		Logger:             quiet{},
	}
	_ = server.ServeConn(conn) // a stranger's errors are nobody's business
}

// quiet is a logger that says nothing.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// For returns a client of the visor with key pk, which is asked by way of this one. They
// share connections.
func (c *Client) For(pk cipher.PubKey) *Client {
	return &Client{http: c.http, socket: c.socket, visor: pk}
}

// where names the visor in errors.
func (c *Client) where() string {
	if c.visor.IsZero() {
		return c.socket
	}
	return fmt.Sprintf("%s (by way of the one at %s)", c.visor, c.socket)
}
