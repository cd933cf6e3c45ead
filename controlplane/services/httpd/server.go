package httpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// Bounds of a server. Requests of services are small; what takes longer than these
// times is a slow attacker or a link that works for nobody.
const (
	MaxRequestBody = 64 << 10 // bytes
	readTimeout    = 5 * time.Second
	writeTimeout   = 30 * time.Second // a list of some MB to a board on a mobile link
	// idleTimeout is above the rhythm of a minute in which clients come back: each
	// connection over dmsg costs both sides a handshake.
	idleTimeout = 2 * time.Minute
	// maxConns is below the 20,000 files that many systems give to a process.
	maxConns = 16384
	// crowded is from how many connections on each is closed after its answer: a relay in
	// the same process needs as many files, and an idle connection costs some 30 KB.
	crowded = maxConns / 2
	// shutdownTimeout is how long calls under way have at the end.
	shutdownTimeout = 5 * time.Second
)

// NewServer returns a server of handler, named name in logs.
func NewServer(name string, handler fasthttp.RequestHandler, log zerolog.Logger) *fasthttp.Server {
	s := &fasthttp.Server{
		Name:                  name,
		NoDefaultServerHeader: true,
		Concurrency:           maxConns,
		MaxRequestBodySize:    MaxRequestBody,
		WriteBufferSize:       1 << 10, // enough for most answers; longer ones are not copied
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           idleTimeout,
		TCPKeepalive:          true,
		CloseOnShutdown:       true,
		Logger:                logger{log},
		ErrorHandler: func(rc *fasthttp.RequestCtx, err error) {
			status, text := fasthttp.StatusBadRequest, "malformed HTTP request"
			var slow net.Error
			switch {
			case errors.Is(err, fasthttp.ErrBodyTooLarge):
				status, text = fasthttp.StatusRequestEntityTooLarge, "the request is too large"
			case errors.As(err, &slow) && slow.Timeout():
				// Clients open connections in advance, and send a request just when this one
				// is closed: by 408 they know that it was not looked at (RFC 9110, section
				// 15.5.9), and make it again.
				status, text = fasthttp.StatusRequestTimeout, "no request came in time"
			}
			rc.SetStatusCode(status)
			rc.SetContentType("application/json")
			rc.SetBodyString(fmt.Sprintf(`{"message":%q,"code":%d}`, text, status))
			rc.SetConnectionClose()
		},
	}
	s.Handler = relieved(s, handler, crowded)
	return s
}

// relieved returns handler, but connections keep little memory and, while s has more
// than most, are closed after their answer.
func relieved(s *fasthttp.Server, handler fasthttp.RequestHandler, most int32) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		handler(rc)
		// Most connections wait for the request of the next minute, and need not keep the
		// body of the last; ReduceMemoryUsage would also keep silent ones from their 408.
		rc.Request.SwapBody(nil)
		if s.GetOpenConnectionsCount() > most {
			rc.SetConnectionClose()
		}
	}
}

// A logger takes what fasthttp has to say, which strangers can trigger, at debug.
type logger struct{ log zerolog.Logger }

func (l logger) Printf(format string, args ...any) {
	if e := l.log.Debug(); e.Enabled() {
		e.Msgf(format, args...)
	}
}

// Serve serves l with s until ctx ends, then lets calls under way end. It closes l.
// A listener that fails for good ends it with that error; what passes, as a lack of
// files does, is waited for.
func Serve(ctx context.Context, s *fasthttp.Server, l net.Listener) error {
	failed := make(chan error, 1)
	log := zerolog.Nop()
	if own, ok := s.Logger.(logger); ok {
		log = own.log
	}
	go func() { failed <- s.Serve(patient{l, ctx, log}) }()
	select {
	case err := <-failed:
		_ = l.Close()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("httpd: serve %s: %w", l.Addr(), err)
		}
		return nil
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.ShutdownWithContext(end)
	_ = l.Close()
	served := <-failed
	switch {
	case err != nil:
		return fmt.Errorf("httpd: calls did not end within %v: %w", shutdownTimeout, err)
	case served != nil && !errors.Is(served, net.ErrClosed):
		return fmt.Errorf("httpd: serve %s: %w", l.Addr(), served)
	}
	return nil
}
