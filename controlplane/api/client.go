package api

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/valyala/fasthttp"
)

// callTimeout bounds calls whose context has no deadline.
const callTimeout = 30 * time.Second

// A Client calls a visor's API. It implements Commands, and may be used concurrently.
//
// Calls end at their context's deadline, or after 30 s without one; cancelling the
// context does not end a call under way. Errors are *Error: what the visor
// answered, or ErrNoVisor.
type Client struct {
	http   *fasthttp.HostClient
	socket string
	visor  cipher.PubKey // another one than that at the socket, if it is not zero
}

var _ Commands = (*Client)(nil)

// NewClient returns a client of the visor that listens at a Unix socket. It does
// not connect yet.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: &fasthttp.HostClient{
		Addr:                "visor",
		Dial:                func(string) (net.Conn, error) { return net.DialTimeout("unix", socket, 5*time.Second) },
		MaxConns:            4,
		MaxResponseBodySize: MaxBody,
		RetryIfErr:          func(*fasthttp.Request, int, error) (bool, bool) { return false, false }, // adding twice is not adding once
	}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status implements Commands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Ping implements Commands; the context's deadline is how long it waits.
func (c *Client) Ping(ctx context.Context, pk cipher.PubKey) (Pong, error) {
	spec := PingSpec{PK: pk}
	if end, ok := ctx.Deadline(); ok {
		spec.TimeoutMillis = max(1, min(time.Until(end)+time.Millisecond, maxPing).Milliseconds()) // rounded up
		// The visor's time-out is to come first: it says more than ours.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), end.Add(time.Second))
		defer cancel()
	}
	var pong Pong
	err := c.call(ctx, http.MethodPost, "/v1/ping", spec, &pong)
	return pong, err
}

// Links implements Commands.
func (c *Client) Links(ctx context.Context) ([]Link, error) {
	return get[[]Link](ctx, c, "/v1/links")
}

// AddLink implements Commands.
func (c *Client) AddLink(ctx context.Context, spec LinkSpec, save bool) error {
	return c.call(ctx, http.MethodPost, "/v1/links", Change[LinkSpec]{spec, save}, &none{})
}

// RemoveLink implements Commands.
func (c *Client) RemoveLink(ctx context.Context, id LinkID, save bool) error {
	return c.call(ctx, http.MethodDelete, "/v1/links", Change[LinkID]{id, save}, &none{})
}

// Routes implements Commands.
func (c *Client) Routes(ctx context.Context) ([]Route, error) {
	return get[[]Route](ctx, c, "/v1/routes")
}

// AddRule implements Commands.
func (c *Client) AddRule(ctx context.Context, rule Rule, save bool) error {
	return c.call(ctx, http.MethodPost, "/v1/routes", Change[Rule]{rule, save}, &none{})
}

// RemoveRule implements Commands.
func (c *Client) RemoveRule(ctx context.Context, in Hop, save bool) error {
	return c.call(ctx, http.MethodDelete, "/v1/routes", Change[Hop]{in, save}, &none{})
}

// Forwards implements Commands.
func (c *Client) Forwards(ctx context.Context) ([]Forward, error) {
	return get[[]Forward](ctx, c, "/v1/forwards")
}

// AddForward implements Commands.
func (c *Client) AddForward(ctx context.Context, spec ForwardSpec, save bool) (string, error) {
	var id forwardID
	err := c.call(ctx, http.MethodPost, "/v1/forwards", Change[ForwardSpec]{spec, save}, &id)
	return id.ID, err
}

// RemoveForward implements Commands.
func (c *Client) RemoveForward(ctx context.Context, id string, save bool) error {
	return c.call(ctx, http.MethodDelete, "/v1/forwards", Change[forwardID]{forwardID{id}, save}, &none{})
}

// get calls what only asks.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var result T
	err := c.call(ctx, http.MethodGet, path, nil, &result)
	return result, err
}

// post calls what does something and has an answer.
func post[T any](ctx context.Context, c *Client, path string, request any) (T, error) {
	var result T
	err := c.call(ctx, http.MethodPost, path, request, &result)
	return result, err
}

// call sends request as JSON and decodes the answer into result.
func (c *Client) call(ctx context.Context, method, path string, request, result any) error {
	rq, rs := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(rq)
	defer fasthttp.ReleaseResponse(rs)
	rq.Header.SetMethod(method)
	rq.SetRequestURI("http://visor" + path)
	if !c.visor.IsZero() {
		rq.Header.Set(headerVisor, c.visor.String())
	}
	if request != nil {
		body, err := json.Marshal(request)
		if err != nil {
			return ErrBadRequest.With("api: %v", err)
		}
		rq.Header.SetContentType("application/json")
		rq.SetBody(body)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(callTimeout)
	}
	if err := ctx.Err(); err != nil {
		return ErrTimeout.With("api: %v", err)
	}
	if err := c.http.DoDeadline(rq, rs, deadline); err != nil {
		return c.noAnswer(err)
	}
	if rs.StatusCode() != http.StatusOK {
		var e Error
		if err := json.Unmarshal(rs.Body(), &e); err != nil || e.Code == "" || e.Text == "" {
			return ErrInternal.With("api: %s answers with HTTP status %d; is it a visor's socket?", c.where(), rs.StatusCode())
		}
		return &e
	}
	if err := json.Unmarshal(rs.Body(), result); err != nil {
		return ErrInternal.With("api: answer of %s: %v; client and visor may be of different versions", c.where(), err)
	}
	return nil
}

// noAnswer says what to do about a call that got no answer.
func (c *Client) noAnswer(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return ErrNoVisor.With("no visor answers at %s: start skyvisor, or name its socket with --socket", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return ErrDenied.With("you may not open %s: run this as the user that runs the visor", c.socket)
	case errors.Is(err, fasthttp.ErrTimeout):
		return ErrTimeout.With("the visor at %s did not answer in time", c.where())
	default:
		return ErrNoVisor.With("the visor at %s broke off the call: %v", c.socket, err)
	}
}
