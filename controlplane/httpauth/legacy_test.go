package httpauth

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// legacy is a request as deployed visors sign it.
func legacy(signer, as byte, nonce uint64, body string) request {
	pk, _ := keys(as)
	_, sk := keys(signer)
	sig, err := cipher.Sign(sk, []byte(body+strconv.FormatUint(nonce, 10)))
	if err != nil {
		panic(err)
	}
	return request{method: "POST", host: "any.example", uri: "/transports/", body: body, header: map[string]string{
		deployment.HeaderKey: pk.String(), headerNonce: strconv.FormatUint(nonce, 10), headerSig: sig.String(),
	}}
}

func TestLegacy(t *testing.T) {
	alice, _ := keys(1)
	newVerifier := func() *Verifier {
		return NewVerifier(Options{Nonces: &memory{n: map[cipher.PubKey]uint64{alice: 5}}, Now: func() time.Time { return time.UnixMilli(start) }})
	}
	with := func(r request, header, value string) request {
		r.header[header] = value
		return r
	}
	tests := []struct {
		name string
		r    request
		ok   bool
	}{
		{"right", legacy(1, 1, 5, "[]"), true},
		{"old nonce", legacy(1, 1, 4, "[]"), false},
		{"coming nonce", legacy(1, 1, 6, "[]"), false},
		{"largest nonce", legacy(1, 1, 1<<64-1, "[]"), false},
		{"foreign-signed", legacy(2, 1, 5, "[]"), false},
		{"other body", func() request { r := legacy(1, 1, 5, "[]"); r.body = "[1]"; return r }(), false},
		{"digits moved from the nonce to the body", func() request { r := legacy(1, 1, 35, "[]"); r.body = "[]3"; return with(r, headerNonce, "5") }(), true},
		{"no key", with(legacy(1, 1, 5, ""), deployment.HeaderKey, "-"), false},
		{"no nonce", with(legacy(1, 1, 5, ""), headerNonce, "-"), false},
		{"nonce is no number", with(legacy(1, 1, 5, ""), headerNonce, "-5"), false},
		{"no signature", with(legacy(1, 1, 5, ""), headerSig, "00"), false},
		{"over dmsg", func() request { r := legacy(1, 1, 0, ""); r.stream = 1; return r }(), true},
		{"over dmsg of another", func() request { r := legacy(1, 1, 0, ""); r.stream = 2; return r }(), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier()
			rc, stream := tt.r.ctx()
			pk, isLegacy, err := v.VerifyLegacy(rc, stream)
			if tt.ok != (err == nil) || !isLegacy {
				t.Fatalf("%v, legacy %v", err, isLegacy)
			}
			if !tt.ok {
				if !errors.Is(err, deployment.ErrUnauthorized) {
					t.Errorf("refused with %v", err)
				}
				return
			}
			if pk != alice {
				t.Errorf("it is %v", pk)
			}
			if _, _, err := v.VerifyLegacy(rc, stream); stream.IsZero() && !errors.Is(err, deployment.ErrUnauthorized) {
				t.Errorf("replayed: %v", err)
			}
			if _, err := v.Verify(rc, cipher.PubKey{}); !errors.Is(err, deployment.ErrUnauthorized) {
				t.Errorf("where the scheme is not asked for: %v", err)
			}
		})
	}
	// The new scheme goes before the old one, and without nonces there is only that.
	v := newVerifier()
	r := request{}.sign(func(r *request) { r.header[headerSig] = "x" })
	rc, _ := r.ctx()
	if pk, isLegacy, err := v.VerifyLegacy(rc, cipher.PubKey{}); err != nil || isLegacy || pk != alice {
		t.Errorf("both schemes: %v, %v, %v", pk, isLegacy, err)
	}
	v = NewVerifier(Options{})
	rc, _ = legacy(1, 1, 0, "").ctx()
	if _, _, err := v.VerifyLegacy(rc, cipher.PubKey{}); !errors.Is(err, deployment.ErrUnauthorized) {
		t.Errorf("without nonces: %v", err)
	}
}

func TestServeNonce(t *testing.T) {
	alice, _ := keys(1)
	v := NewVerifier(Options{Nonces: &memory{n: map[cipher.PubKey]uint64{alice: 5}}})
	for text, want := range map[string]string{
		alice.String():            `{"edge":"` + alice.String() + `","next_nonce":5}`,
		"x":                       "bad_request",
		strings.Repeat("0", 66):   "bad_request",
		alice.String() + "/more/": "bad_request",
	} {
		var rc fasthttp.RequestCtx
		v.ServeNonce(&rc, text)
		if got := string(rc.Response.Body()); !strings.Contains(got, want) || (rc.Response.StatusCode() == 400) != (want == "bad_request") {
			t.Errorf("%q: %d %s, want %s", text, rc.Response.StatusCode(), got, want)
		}
	}
}

// No headers make Verify panic, and no forged ones let anybody in.
func FuzzVerify(f *testing.F) {
	right := request{body: "{}"}.sign(nil)
	old := legacy(1, 1, 0, "{}")
	f.Add(right.header[deployment.HeaderKey], right.header[deployment.HeaderTime], right.header[deployment.HeaderNonce], right.header[deployment.HeaderSig], "", "", here, "{}")
	f.Add(old.header[deployment.HeaderKey], "", "", "", "0", old.header[headerSig], here, "{}")
	f.Add("", "", "", "", "", "", "", "")
	f.Add(right.header[deployment.HeaderKey], "1", "x", "00", "-1", "", "[::1]:9080", "")
	c := &clock{now: time.UnixMilli(start)}
	f.Fuzz(func(t *testing.T, key, at, nonce, sig, oldNonce, oldSig, host, body string) {
		v := NewVerifier(Options{Nonces: &memory{n: map[cipher.PubKey]uint64{}}, Now: c.Now})
		var rc fasthttp.RequestCtx
		rc.Init2(conn{dmsgAddr("x")}, nil, false)
		rc.Request.Header.SetMethod("POST")
		rc.Request.SetRequestURI(right.uri)
		rc.Request.Header.SetHost(host)
		rc.Request.SetBodyString(body)
		for k, s := range map[string]string{
			deployment.HeaderKey: key, deployment.HeaderTime: at, deployment.HeaderNonce: nonce, deployment.HeaderSig: sig,
			headerNonce: oldNonce, headerSig: oldSig,
		} {
			if s != "" {
				rc.Request.Header.Set(k, s)
			}
		}
		pk, isLegacy, err := v.VerifyLegacy(&rc, cipher.PubKey{})
		if err == nil && !(isLegacy && body == "{}" && oldSig == old.header[headerSig]) {
			t.Errorf("let in as %v (legacy %v)", pk, isLegacy)
		}
		var e *deployment.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("refused with %v, which is no *deployment.Error", err)
		}
	})
}
