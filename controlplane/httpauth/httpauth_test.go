package httpauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestVerify(t *testing.T) {
	alice, _ := keys(1)
	service, _ := keys(9)
	set := func(header, value string) func(*request) {
		return func(r *request) { r.header[header] = value }
	}
	tests := []struct {
		name string
		r    request
		want error // nil: alice
	}{
		{"right", request{body: `{"a":1}`}.sign(nil), nil},
		{"empty body", request{method: "GET"}.sign(nil), nil},
		{"by name", request{host: "Sky.example"}.sign(nil), nil},
		{"by name at our port", request{host: "sky.example:9080"}.sign(nil), nil},
		{"by name at a port that was given", request{host: "mapped.example:19080"}.sign(nil), nil},
		{"localhost", request{host: "localhost:9080"}.sign(nil), nil},
		{"59 s slow", request{ms: start - 59_000}.sign(nil), nil},
		{"59 s fast", request{ms: start + 59_000}.sign(nil), nil},

		{"not signed", request{method: "GET", host: here, uri: "/"}, deployment.ErrUnauthorized},
		{"foreign-signed", request{signer: 2, as: 1}.sign(nil), deployment.ErrUnauthorized},
		{"forged", request{}.sign(set(deployment.HeaderSig, fmt.Sprintf("%0130d", 1))), deployment.ErrUnauthorized},
		{"no signature", request{}.sign(set(deployment.HeaderSig, "x")), deployment.ErrUnauthorized},
		{"no key", request{}.sign(set(deployment.HeaderKey, "-")), deployment.ErrUnauthorized},
		{"bad key", request{}.sign(set(deployment.HeaderKey, fmt.Sprintf("%066d", 2))), deployment.ErrUnauthorized},
		{"no time", request{}.sign(set(deployment.HeaderTime, "-")), deployment.ErrUnauthorized},
		{"bad time", request{}.sign(set(deployment.HeaderTime, "now")), deployment.ErrUnauthorized},
		{"no nonce", request{}.sign(set(deployment.HeaderNonce, "-")), deployment.ErrUnauthorized},
		{"long nonce", request{nonce: fmt.Sprintf("%034d", 0)}.sign(nil), deployment.ErrUnauthorized},
		{"other nonce", request{}.sign(set(deployment.HeaderNonce, fmt.Sprintf("%032d", 0))), deployment.ErrUnauthorized},
		{"other time", request{}.sign(set(deployment.HeaderTime, strconv.FormatInt(start+1, 10))), deployment.ErrUnauthorized},
		{"other method", request{}.sign(func(r *request) { r.method = "DELETE" }), deployment.ErrUnauthorized},
		{"other path", request{}.sign(func(r *request) { r.uri = "/ar/transports/?a=b" }), deployment.ErrUnauthorized},
		{"other query", request{}.sign(func(r *request) { r.uri += "c" }), deployment.ErrUnauthorized},
		{"other body", request{body: "{}"}.sign(func(r *request) { r.body = "{ }" }), deployment.ErrUnauthorized},
		{"other host of ours", request{host: "sky.example"}.sign(func(r *request) { r.host = here }), deployment.ErrUnauthorized},
		{"foreign host", request{host: "evil.example"}.sign(nil), deployment.ErrUnauthorized},
		{"other port", request{host: "127.0.0.1:9081"}.sign(nil), deployment.ErrUnauthorized},
		{"other port of a name", request{host: "mapped.example:9080"}.sign(nil), deployment.ErrUnauthorized},
		{"address of another", request{host: "127.0.0.2:9080"}.sign(nil), deployment.ErrUnauthorized},
		{"dmsg's name over TCP", request{host: service.String() + ":80"}.sign(nil), deployment.ErrUnauthorized},
		{"a day slow", request{ms: start - 86_400_000}.sign(nil), deployment.ErrClock},
		{"a day fast", request{ms: start + 86_400_000}.sign(nil), deployment.ErrClock},
		{"the end of time", request{ms: 1<<63 - 1}.sign(nil), deployment.ErrClock},
		{"its beginning", request{ms: -1 << 63}.sign(nil), deployment.ErrClock},

		{"over dmsg", request{stream: 1, method: "GET", host: service.String() + ":80", uri: "/"}, nil},
		{"over dmsg, signed", request{stream: 1, host: service.String() + ":80"}.sign(nil), nil},
		{"over dmsg, signed by another", request{stream: 1, signer: 2, host: service.String() + ":80"}.sign(nil), deployment.ErrUnauthorized},
		{"over dmsg, signed for another", request{stream: 1, host: alice.String() + ":80"}.sign(nil), deployment.ErrUnauthorized},
		{"over dmsg, signed for HTTP", request{stream: 1, host: here}.sign(nil), deployment.ErrUnauthorized},
		{"over dmsg, says another", request{stream: 1, signer: 2, host: here}.sign(set(deployment.HeaderSig, "-")), deployment.ErrUnauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &clock{now: time.UnixMilli(start - 70_000)}
			v := NewVerifier(Options{Hosts: []string{"sky.example", "mapped.example:19080"}, Key: service, Now: c.Now})
			c.add(70 * time.Second)
			rc, stream := tt.r.ctx()
			pk, err := v.Verify(rc, stream)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			var e *deployment.Error
			if errors.As(err, &e) && (e.Status != http.StatusUnauthorized || e.Code == deployment.CodeClock != (e.ServerTime == start)) {
				t.Errorf("refusal %+v", e)
			}
			if tt.want == nil && pk != alice {
				t.Errorf("it is %v, want %v", pk, alice)
			}
			if tt.want != nil || len(tt.r.header) == 0 {
				return
			}
			if _, err := v.Verify(rc, stream); !errors.Is(err, deployment.ErrReplay) {
				t.Errorf("replayed: %v", err)
			}
			c.add(30 * time.Second)
			if _, err := v.Verify(rc, stream); !errors.Is(err, deployment.ErrReplay) && !errors.Is(err, deployment.ErrClock) {
				t.Errorf("replayed later: %v", err)
			}
		})
	}
}

// A service that was started again does not know what it took before.
func TestRestart(t *testing.T) {
	c := &clock{now: time.UnixMilli(start + 1000)}
	v := NewVerifier(Options{Now: c.Now})
	rc, _ := request{ms: start}.sign(nil).ctx()
	if _, err := v.Verify(rc, cipher.PubKey{}); !errors.Is(err, deployment.ErrClock) {
		t.Errorf("a request from before the start: %v", err)
	}
}

// A forgery takes no room.
func TestForgeryIsForgotten(t *testing.T) {
	c := &clock{now: time.UnixMilli(start)}
	v := NewVerifier(Options{Now: c.Now})
	rc, _ := request{signer: 2, as: 1}.sign(nil).ctx()
	_, _ = v.Verify(rc, cipher.PubKey{})
	if v.replay.n != 0 {
		t.Errorf("%d requests are remembered", v.replay.n)
	}
}

func TestReplayIsBounded(t *testing.T) {
	const max = 100
	now := start
	r := newReplay(max, start)
	taken := make(map[mark]int64)
	refused := 0
	for i := range 5000 {
		ms := now - int64(i*37%30_000)
		m := mark{byte(i), byte(i >> 8)}
		if r.fresh(ms, now) {
			if err := r.add(m, ms, now); err == nil {
				taken[m] = ms
			} else {
				refused++
			}
		} else {
			refused++
		}
		if r.n > max {
			t.Fatalf("%d requests are remembered", r.n)
		}
		n := 0
		for _, s := range r.seconds {
			n += len(s)
		}
		if n != r.n {
			t.Fatalf("counted %d, there are %d", r.n, n)
		}
		now += 20
	}
	if refused == 0 || len(taken) < 2*max {
		t.Errorf("%d taken, %d refused", len(taken), refused)
	}
	for m, ms := range taken {
		if r.fresh(ms, now) && !r.has(m, ms) {
			t.Fatalf("a request of %d would be taken again at %d", ms, now)
		}
	}
	// What comes from the future cannot push the present out.
	r = newReplay(max, start)
	for i := range 2 * max {
		_ = r.add(mark{1, byte(i)}, start+50_000, start)
	}
	if !r.fresh(start, start) {
		t.Error("requests of the present are not taken any more")
	}
}

// A caller whose clock is wrong by a day corrects itself, once, and says so.
func TestCallerCorrectsItself(t *testing.T) {
	c := &clock{now: time.Now().Add(24 * time.Hour)}
	url, _ := serve(t, Options{Now: c.Now})
	alice, sk := keys(1)
	rt := &counting{RoundTripper: deployment.NewRoundTripper(nil)}
	defer rt.RoundTripper.(*http.Transport).CloseIdleConnections()
	caller := deployment.NewCaller(sk, rt, zerolog.Nop())
	for i, want := range []int{2, 3} { // the second call is right at once
		c.add(10 * time.Millisecond)
		var pk cipher.PubKey
		if err := caller.Do(t.Context(), "POST", url, "/x?y", map[string]int{"a": i}, &pk); err != nil || pk != alice {
			t.Fatalf("call %d: %v, %v", i, pk, err)
		}
		if rt.n != want {
			t.Errorf("call %d: %d requests so far, want %d", i, rt.n, want)
		}
	}
	if skew := caller.Skew(); skew < 23*time.Hour || skew > 25*time.Hour {
		t.Errorf("skew %v, want a day", skew)
	}
	// So does its heartbeat: by the service's clock, it was started now.
	tpd := deployment.NewTransportDiscovery(url, deployment.NewCaller(sk, &spying{rt, t, c.Now}, zerolog.Nop()))
	_, _ = tpd.Heartbeat(t.Context(), deployment.NewInstance(time.Now()), nil) // the answer is none of a discovery
	rt.n = 3
	// A service whose time is never right is not asked for ever.
	mad, _ := serve(t, Options{Now: func() time.Time { c.add(time.Hour); return c.Now() }})
	if err := caller.Do(t.Context(), "POST", mad, "/", nil, nil); !errors.Is(err, deployment.ErrClock) || rt.n != 5 {
		t.Errorf("mad service: %v after %d requests", err, rt.n-3)
	}
}

// A spying RoundTripper looks at when the second request of a call says that the
// instance was started.
type spying struct {
	*counting
	t   *testing.T
	now func() time.Time
}

func (s *spying) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var rq deployment.HeartbeatRequest
	if err := json.Unmarshal(body, &rq); err != nil {
		s.t.Error(err)
	}
	if off := s.now().Sub(time.UnixMilli(rq.Started)).Abs(); s.n == 4 && off > time.Hour {
		s.t.Errorf("started %v from now", off)
	}
	return s.counting.RoundTrip(r)
}

type counting struct {
	http.RoundTripper
	n int
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n++
	return c.RoundTripper.RoundTrip(r)
}
