package deployment

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// NewRoundTripper returns a RoundTripper for http, https and dmsg URLs, the last by
// streams that dial opens; a nil dial refuses them. It never asks a proxy of the
// environment. Its CloseIdleConnections closes what nobody uses.
func NewRoundTripper(dial dmsghttp.DialFunc) *http.Transport {
	if dial == nil {
		dial = func(context.Context, proto.Addr) (net.Conn, error) {
			return nil, errors.New("deployment: no dmsg client for dmsg URLs")
		}
	}
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  Timeout,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	t.RegisterProtocol(dmsghttp.Scheme, dmsghttp.NewTransport(dial))
	return t
}
