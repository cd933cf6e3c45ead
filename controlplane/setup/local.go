package setup

import (
	"bytes"
	"io"
	"net/http"

	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Local returns a transport for dmsg URLs that hands requests for pk itself at port to
// h, in this process, and all others to next. A visor that is a setup node needs it to
// be on a path that it sets up, or to ask itself.
func Local(pk cipher.PubKey, port uint16, h http.Handler, next http.RoundTripper) http.RoundTripper {
	return &local{host: proto.Addr{PK: pk, Port: port}.String(), h: h, next: next}
}

type local struct {
	host string
	h    http.Handler
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (l *local) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != dmsghttp.Scheme || req.URL.Host != l.host {
		return l.next.RoundTrip(req)
	}
	inner := req.Clone(req.Context())
	inner.RemoteAddr = l.host
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	defer inner.Body.Close()
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	l.h.ServeHTTP(w, inner)
	return w.response(req), nil
}

// A recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// response returns what was written as the answer to req.
func (r *recorder) response(req *http.Request) *http.Response {
	return &http.Response{
		Status: http.StatusText(r.status), StatusCode: r.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: io.NopCloser(&r.body), ContentLength: int64(r.body.Len()), Request: req,
	}
}
