// Package dmsghttp is HTTP/1.1 over dmsg streams: URLs of the form
// dmsg://<pk>[:port]/path, port 80 where none is given.
//
// The deployed software opens a stream for each request, a handshake of four
// multiplications on each side; here requests to one peer share streams, as
// requests over TCP share connections.
package dmsghttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

const (
	// Scheme is the scheme of the URLs.
	Scheme = "dmsg"
	// DefaultPort is where HTTP is served over dmsg.
	DefaultPort = 80

	// idleStreams are kept for one peer, idleTimeout long; the deployed servers
	// close an idle stream after 30 s, which the pool notices.
	idleStreams = 4
	idleTimeout = 90 * time.Second
	// headerTimeout is how long a peer may take for a header, as client or server.
	headerTimeout = 30 * time.Second
	maxHeader     = 64 << 10
)

// ErrURL says that a URL is not one of dmsg's.
var ErrURL = errors.New("dmsghttp: not a dmsg URL")

// A DialFunc opens a stream to a key and port.
type DialFunc func(ctx context.Context, to proto.Addr) (net.Conn, error)

// A Transport makes requests for dmsg URLs. It is an http.RoundTripper and may be
// used concurrently.
type Transport struct{ pool *http.Transport }

// NewTransport returns a Transport that gets its streams from dial and keeps those
// that are idle for further requests.
func NewTransport(dial DialFunc) *Transport {
	return &Transport{pool: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			to, err := proto.ParseAddr(addr, DefaultPort)
			if err != nil {
				return nil, err
			}
			return dial(ctx, to)
		},
		MaxIdleConnsPerHost:    idleStreams,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		// A stream carries 64 KiB in a frame; the default of 4 KiB would fill one
		// with a single sealed piece.
		WriteBufferSize: 64 << 10,
		ReadBufferSize:  64 << 10,
	}}
}

// RoundTrip makes a request to a dmsg URL, with the key and port as its Host, as
// the deployed servers expect it. Errors wrap [ErrURL] or what the dial says.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != Scheme {
		closeBody(req)
		return nil, fmt.Errorf("%w: scheme %q", ErrURL, req.URL.Scheme)
	}
	if _, err := proto.ParseAddr(req.URL.Host, DefaultPort); err != nil {
		closeBody(req)
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	// A RoundTripper must not change its request.
	inner := req.Clone(req.Context())
	inner.URL.Scheme = "http"
	resp, err := t.pool.RoundTrip(inner)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// CloseIdleConnections closes the streams that no request uses.
func (t *Transport) CloseIdleConnections() { t.pool.CloseIdleConnections() }

// NewServer returns a server for dmsg listeners. Each request's RemoteAddr is the
// caller's "<pk>:<port>", which dmsg has proven. A header has its time; bodies have
// theirs without limit, for a large file over a slow path is no fault.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       2 * idleTimeout,
		MaxHeaderBytes:    maxHeader,
	}
}
