package deployment

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// The digest of a request that was made by hand, with another program:
//
//	printf 'skywire-request-v1\nPOST\nhost:1\n/a?b=c\n1800000000000\n000102030405060708090a0b0c0d0e0f\n%s' \
//	  "$(printf '{}' | sha256sum | cut -c1-64)" | sha256sum
func TestRequestDigest(t *testing.T) {
	got := RequestDigest("POST", "host:1", "/a?b=c", 1_800_000_000_000, "000102030405060708090a0b0c0d0e0f", []byte("{}"))
	if got, want := hex.EncodeToString(got[:]), "ee44a990097cc9965f056856c845ad5dc33103e09dcacbbbf4cbe2ac2fe04e6a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("é", 500)
	tests := []struct {
		name   string
		status int
		body   string
		want   error
		text   string
	}{
		{"ours", 409, `{"error":"two of them","code":"duplicate_key"}`, ErrDuplicateKey, "two of them"},
		{"ours, by its code", 404, `{"error":"x","code":"limit"}`, ErrLimit, "x"},
		{"deployed, with an object", 401, `{"error":{"message":"SW-Nonce does not match","code":401}}`, ErrUnauthorized, "SW-Nonce does not match"},
		{"deployed, with a message", 404, `{"message":"nothing","code":404}`, ErrNotFound, "nothing"},
		{"deployed, with a text", 400, `{"error":"bad"}`, ErrBadRequest, "bad"},
		{"of a proxy", 502, `<html>`, ErrUnavailable, "502 Bad Gateway"},
		{"of nobody", 403, ``, ErrForbidden, "403 Forbidden"},
		{"null", 429, `null`, ErrRate, "429 Too Many Requests"},
		{"long", 400, `{"error":"` + long + `"}`, ErrBadRequest, "é…"},
		{"clock without a time", 401, `{"error":"x","code":"clock"}`, ErrClock, "x"},
		{"unknown status", 418, `{"code":"` + long + `"}`, ErrBadRequest, "teapot"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			url, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				n++
				answer(tt.status, "Retry-After", "7", tt.body)(w, r)
			})
			err := c.Do(t.Context(), "POST", url, "/x", nil, nil)
			var e *Error
			if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(e.Text, tt.text) || e.RetryAfter != 7*time.Second {
				t.Errorf("got %v (%+v)", err, e)
			}
			if e != nil && len(e.Text) > maxText+10 {
				t.Errorf("a text of %d bytes", len(e.Text))
			}
			if n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
	if errors.Is(ErrClock, ErrReplay) || !errors.Is(ErrClock.With("x"), ErrClock) || ErrClock.Text == "x" {
		t.Error("codes are mixed up")
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	var out map[string]any
	for name, h := range map[string]http.HandlerFunc{
		"no JSON":  answer(200, "", "", "<html>"),
		"moved":    answer(301, "Location", "https://elsewhere", ""),
		"too long": answer(200, "", "", `{"a":"`+strings.Repeat("x", maxReply)+`"}`),
	} {
		url, c := serve(t, h)
		if err := c.Ask(t.Context(), url, "/", &out); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := httptest.NewServer(answer(200, "", "", ""))
	url := s.URL
	s.Close()
	_, sk := keys(1)
	rt := NewRoundTripper(nil)
	c := NewCaller(sk, rt, zerolog.Nop())
	if err := c.Ask(t.Context(), url, "/", &out); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
	for _, bad := range []string{"", "x", "://", "/path"} {
		if err := c.Ask(t.Context(), bad, "/", &out); err == nil || !strings.Contains(err.Error(), "not the URL of a service") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := c.Ask(t.Context(), "dmsg://"+c.Key().String()+":80", "/", &out); err == nil || !strings.Contains(err.Error(), "no dmsg client") {
		t.Errorf("dmsg without a client: %v", err)
	}
	if err := NewCaller(cipher.SecKey{}, rt, zerolog.Nop()).Do(t.Context(), "POST", url, "/", nil, nil); err == nil || !strings.Contains(err.Error(), "sign") {
		t.Errorf("without a key: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ask(ctx, url, "/", &out); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Over dmsg nothing is signed, for the stream proves the key.
func TestOverDmsg(t *testing.T) {
	got := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer s.Close()
	service, _ := keys(5)
	rt := NewRoundTripper(func(ctx context.Context, to proto.Addr) (net.Conn, error) {
		if to.PK != service || to.Port != 80 {
			t.Errorf("dials %v", to)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
	defer rt.CloseIdleConnections()
	_, sk := keys(1)
	c := NewCaller(sk, rt, zerolog.Nop())
	if err := c.Do(t.Context(), "POST", "dmsg://"+service.String()+":80/tpd", "/x", nil, nil); err != nil {
		t.Fatal(err)
	}
	if h := <-got; h.Get(HeaderSig) != "" || h.Get(HeaderKey) != "" {
		t.Errorf("headers %v", h)
	}
}

// What asks only does not say who asks.
func TestAskIsAnonymous(t *testing.T) {
	url, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{HeaderKey, HeaderTime, HeaderNonce, HeaderSig} {
			if r.Header.Get(h) != "" {
				t.Errorf("header %s is sent", h)
			}
		}
		_, _ = io.WriteString(w, `[]`)
	})
	if _, err := NewTransportDiscovery(url, c).Edge(t.Context(), c.Key()); err != nil {
		t.Error(err)
	}
}

func FuzzParseError(f *testing.F) {
	f.Add(401, []byte(`{"error":"x","code":"clock","server_time":1}`), "1")
	f.Add(500, []byte(`{"error":{"message":"x"},"code":5}`), "-1")
	f.Add(0, []byte(`{`), "")
	f.Fuzz(func(t *testing.T, status int, body []byte, retry string) {
		e := parseError(status, body, http.Header{"Retry-After": {retry}})
		if e.Code == "" || e.Error() == "" || len(e.Text) > maxText+10 || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Errorf("%+v", e)
		}
	})
}
