package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/valyala/fasthttp"
)

// MaxBody bounds requests and answers, in bytes. An answer of this size is a
// visor with some 10,000 links.
const MaxBody = 8 << 20

// maxRequest bounds requests, in bytes: the largest is a forward with a few
// thousand allowed keys.
const maxRequest = 1 << 20

// Visor is what the API commands. All methods may be called concurrently. What
// they return to the caller is in the order in which people want to read it;
// errors that are no *Error reach the client as ErrInternal.
type Visor interface {
	Commands
	Passing
}

// Commands are the calls of the API.
type Commands interface {
	Status(ctx context.Context) (Status, error)
	Ping(ctx context.Context, pk cipher.PubKey) (Pong, error)
	Links
	Routes
	Forwards
	Transports
	Paths
	Services
	Control
}

// Links are a visor's links. Adding one returns when it is wanted, not when it
// is up.
type Links interface {
	Links(ctx context.Context) ([]Link, error)
	AddLink(ctx context.Context, spec LinkSpec, save bool) error
	RemoveLink(ctx context.Context, id LinkID, save bool) error
}

// Routes are a visor's rules.
type Routes interface {
	Routes(ctx context.Context) ([]Route, error)
	AddRule(ctx context.Context, rule Rule, save bool) error
	RemoveRule(ctx context.Context, in Hop, save bool) error
}

// Forwards are a visor's port forwardings.
type Forwards interface {
	Forwards(ctx context.Context) ([]Forward, error)
	AddForward(ctx context.Context, spec ForwardSpec, save bool) (id string, err error)
	RemoveForward(ctx context.Context, id string, save bool) error
}

// Handler returns the handler of the whole API over v. ctx ends pending calls.
func Handler(ctx context.Context, v Visor) fasthttp.RequestHandler { return handler(ctx, v, true) }

// handler is Handler; passing says whether calls to other visors are passed on.
func handler(ctx context.Context, v Visor, passing bool) fasthttp.RequestHandler {
	calls := endpoints(v)
	return func(rc *fasthttp.RequestCtx) {
		if to := rc.Request.Header.Peek(headerVisor); len(to) > 0 {
			if !passing {
				reply(rc, nil, ErrBadRequest.With("a visor passes on only the calls of its own operator"))
				return
			}
			pass(ctx, rc, v, string(to))
			return
		}
		methods, ok := calls[string(rc.Path())]
		if !ok {
			reply(rc, nil, ErrNotFound.With("no such call: %q", rc.Path()))
			return
		}
		call, ok := methods[string(rc.Method())]
		if !ok {
			reply(rc, nil, ErrBadRequest.With("%s takes no %s", rc.Path(), rc.Method()))
			return
		}
		result, err := call(ctx, rc.PostBody())
		reply(rc, result, err)
	}
}

// An endpoint takes a request's body and returns what to answer.
type endpoint func(ctx context.Context, body []byte) (any, error)

// none is the answer of calls that only do something.
type none struct{}

// A table is a set of calls: path, method, call.
type table map[string]map[string]endpoint

// endpoints is the API.
func endpoints(v Visor) table {
	all := planeEndpoints(v)
	for _, t := range []table{transportEndpoints(v), pathEndpoints(v), serviceEndpoints(v), controlEndpoints(v)} {
		maps.Copy(all, t)
	}
	return all
}

// asks makes an endpoint of a call that takes no body.
func asks(call func(context.Context) (any, error)) endpoint {
	return func(ctx context.Context, _ []byte) (any, error) { return call(ctx) }
}

// planeEndpoints are the calls that concern the data plane and port forwarding.
func planeEndpoints(v Visor) table {
	return table{
		"/v1/status": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return v.Status(ctx) }),
		},
		"/v1/ping": {
			http.MethodPost: with(func(ctx context.Context, spec PingSpec) (any, error) { return ping(ctx, v, spec) }),
		},
		"/v1/links": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.Links(ctx)) }),
			http.MethodPost: with(func(ctx context.Context, c Change[LinkSpec]) (any, error) {
				return none{}, v.AddLink(ctx, c.Item, c.Save)
			}),
			http.MethodDelete: with(func(ctx context.Context, c Change[LinkID]) (any, error) {
				return none{}, v.RemoveLink(ctx, c.Item, c.Save)
			}),
		},
		"/v1/routes": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.Routes(ctx)) }),
			http.MethodPost: with(func(ctx context.Context, c Change[Rule]) (any, error) {
				return none{}, v.AddRule(ctx, c.Item, c.Save)
			}),
			http.MethodDelete: with(func(ctx context.Context, c Change[Hop]) (any, error) {
				return none{}, v.RemoveRule(ctx, c.Item, c.Save)
			}),
		},
		"/v1/forwards": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.Forwards(ctx)) }),
			http.MethodPost: with(func(ctx context.Context, c Change[ForwardSpec]) (any, error) {
				id, err := v.AddForward(ctx, c.Item, c.Save)
				return forwardID{id}, err
			}),
			http.MethodDelete: with(func(ctx context.Context, c Change[forwardID]) (any, error) {
				return none{}, v.RemoveForward(ctx, c.Item.ID, c.Save)
			}),
		},
	}
}

// forwardID names a forward on the wire.
type forwardID struct {
	ID string `json:"id"`
}

// list makes an empty list of none, so that JSON has [] and not null.
func list[T any](items []T, err error) (any, error) {
	if items == nil {
		items = []T{}
	}
	return items, err
}

// with decodes and validates the body for call.
func with[T any](call func(context.Context, T) (any, error)) endpoint {
	return func(ctx context.Context, body []byte) (any, error) {
		var request T
		if _, err := strictjson.Unmarshal(body, &request); err != nil {
			return nil, ErrBadRequest.With("api: request body: %v", err)
		}
		if v, ok := any(request).(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				return nil, ErrBadRequest.With("%v", err)
			}
		}
		return call(ctx, request)
	}
}

// defaultPing and maxPing bound how long a ping waits.
const (
	defaultPing = 10 * time.Second
	maxPing     = time.Minute
)

func ping(ctx context.Context, v Visor, spec PingSpec) (any, error) {
	wait := time.Duration(spec.TimeoutMillis) * time.Millisecond
	if wait == 0 {
		wait = defaultPing
	}
	if wait < 0 || wait > maxPing {
		return nil, ErrBadRequest.With("api: timeout_ms is %d; want 0 to %d", spec.TimeoutMillis, maxPing.Milliseconds())
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	pong, err := v.Ping(ctx, spec.PK)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrTimeout.With("no answer from %s within %v", spec.PK, wait)
	}
	return pong, err
}

// reply writes result, or err if there is one.
func reply(rc *fasthttp.RequestCtx, result any, err error) {
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		result, status = e, e.status()
	}
	body, err := json.Marshal(result)
	if err != nil { // a type of ours that JSON cannot hold: a fault in this package
		status, body = http.StatusInternalServerError, []byte(`{"error":"api: answer cannot be encoded","code":"internal"}`)
	}
	rc.SetStatusCode(status)
	rc.SetContentType("application/json")
	rc.SetBody(append(body, '\n'))
}
