package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// bodyTimeout is how long a caller may take for a body, which is small.
const bodyTimeout = 5 * time.Second

// answer makes a handler of f: it reads the caller's key and a request of type In, and
// writes what f returns.
func answer[In, Out any](f func(ctx context.Context, from cipher.PubKey, in *In) (Out, *Error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := proto.ParseAddr(r.RemoteAddr, 0)
		if err != nil {
			reply(w, http.StatusForbidden, refuse(CodeForbidden, "the caller's key is not known: ask over dmsg").wire())
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // in-process callers have none
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			reply(w, http.StatusBadRequest, refuse(CodeBadRequest, "the body cannot be read: %v", err).wire())
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		in := new(In)
		if _, err := strictjson.Unmarshal(body, in); err != nil {
			reply(w, http.StatusBadRequest, refuse(CodeBadRequest, "%v", err).wire())
			return
		}
		out, bad := f(r.Context(), from.PK, in)
		if bad != nil {
			reply(w, bad.Code.status(), bad.wire())
			return
		}
		reply(w, http.StatusOK, out)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a caller who is gone
}

// health answers those who open a stream ahead of time.
func health(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, none{}) }

// lastRequests is what requests under way have when serving ends: they are told, too.
const lastRequests = time.Second

// serve runs h on ln until ctx ends, and returns when no request is worked on any more.
func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := dmsghttp.NewServer(h)
	ctx, cancel := context.WithCancel(ctx)
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
		defer cancel()
		if srv.Shutdown(last) != nil {
			_ = srv.Close()
		}
	}()
	err := srv.Serve(ln)
	cancel()
	<-ended
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("setup: %w", err)
}

// call posts in to a path at the key and port and reads the answer into out. Errors are
// *Error: what the other says, or CodeUnreachable.
func call(ctx context.Context, rt http.RoundTripper, pk cipher.PubKey, port uint16, path string, in, out any) *Error {
	body, err := json.Marshal(in)
	if err != nil {
		return refuse(CodeInternal, "%v", err)
	}
	return exchange(ctx, rt, http.MethodPost, pk, port, path, body, out)
}

func exchange(ctx context.Context, rt http.RoundTripper, method string, pk cipher.PubKey, port uint16, path string, body []byte, out any) *Error {
	url := dmsghttp.Scheme + "://" + proto.Addr{PK: pk, Port: port}.String() + path
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return refuse(CodeInternal, "%v", err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return unreachable(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		var w wireError
		if err := json.Unmarshal(b, &w); err != nil || w.Code == "" {
			return refuse(CodeInternal, "answers %s without a reason", resp.Status)
		}
		return w.error()
	}
	if err := json.Unmarshal(b, out); err != nil {
		return refuse(CodeInternal, "an answer that does not parse: %v", err)
	}
	return nil
}

// unreachable says why nothing came back.
func unreachable(ctx context.Context, err error) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return refuse(CodeUnreachable, "no answer in time")
	}
	return refuse(CodeUnreachable, "cannot be reached over dmsg: %v", err)
}
