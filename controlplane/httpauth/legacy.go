package httpauth

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Deployed visors sign body ‖ nonce and nothing else: what was signed for one path is
// good for another, and a body of nothing for everything, as long as its nonce is the
// next one. So a service takes the scheme only where it must, and a nonce is used up
// by the first request that shows a good signature for it, whatever becomes of that:
// a deployed visor that is refused asks for the next nonce and tries again, once.

// Headers of the scheme; the key is in deployment.HeaderKey.
const (
	headerNonce = "SW-Nonce" // decimal
	headerSig   = "SW-Sig"   // over SHA-256 of body ‖ nonce, hex
)

// Nonces keeps a counter for each key.
type Nonces interface {
	// Nonce returns the next nonce of pk.
	Nonce(ctx context.Context, pk cipher.PubKey) (uint64, error)
	// Consume makes nonce+1 the next one if nonce is it, else fails with
	// ErrNonceUsed.
	Consume(ctx context.Context, pk cipher.PubKey, nonce uint64) error
}

// ErrNonceUsed says that a nonce is not the next one.
var ErrNonceUsed = errors.New("httpauth: nonce was used")

// VerifyLegacy is Verify and takes requests signed by the scheme of deployed visors
// besides, where there are Nonces; legacy says that it was one.
func (v *Verifier) VerifyLegacy(rc *fasthttp.RequestCtx, stream cipher.PubKey) (pk cipher.PubKey, legacy bool, err error) {
	h := &rc.Request.Header
	legacy = v.nonces != nil && len(h.Peek(headerSig)) > 0 && len(h.Peek(deployment.HeaderSig)) == 0
	if !legacy || !stream.IsZero() {
		pk, err = v.Verify(rc, stream)
		return pk, legacy, err
	}
	for _, name := range []string{deployment.HeaderKey, headerNonce, headerSig} {
		if len(h.PeekAll(name)) != 1 {
			return pk, true, deployment.ErrUnauthorized.With("the request has not one header " + name)
		}
	}
	if pk, err = cipher.ParsePubKeyText(string(h.Peek(deployment.HeaderKey))); err != nil {
		return pk, true, deployment.ErrUnauthorized.With(deployment.HeaderKey + " is no public key")
	}
	text := string(h.Peek(headerNonce))
	nonce, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return pk, true, deployment.ErrUnauthorized.With(headerNonce + " is no number")
	}
	var sig cipher.Sig
	if err := sig.UnmarshalText(h.Peek(headerSig)); err != nil {
		return pk, true, deployment.ErrUnauthorized.With(headerSig + " is no signature")
	}
	ctx := context.Background() // the store has its own time-outs
	next, err := v.nonces.Nonce(ctx, pk)
	if err != nil {
		return pk, true, err
	}
	// What is asked for may be later than what a request holds, not the reverse.
	if nonce > next {
		return pk, true, errNonce
	}
	body := rc.PostBody()
	if err := cipher.Verify(pk, sig, strconv.AppendUint(append(make([]byte, 0, len(body)+20), body...), nonce, 10)); err != nil {
		return pk, true, deployment.ErrUnauthorized.With("the signature does not hold for this body, nonce and key")
	}
	if err := v.nonces.Consume(ctx, pk, nonce); errors.Is(err, ErrNonceUsed) {
		return pk, true, errNonce
	} else if err != nil {
		return pk, true, err
	}
	return pk, true, nil
}

// errNonce has the text that deployed visors know; to any 401 they ask for the next
// nonce and try again.
var errNonce = deployment.ErrUnauthorized.With("SW-Nonce does not match")

// ServeNonce answers GET /security/nonces/{pk}, text being its last part.
func (v *Verifier) ServeNonce(rc *fasthttp.RequestCtx, text string) {
	rc.SetContentType("application/json")
	pk, err := cipher.ParsePubKeyText(text)
	if err != nil || v.nonces == nil {
		rc.SetStatusCode(http.StatusBadRequest)
		rc.SetBodyString(`{"error":"the path does not end in a public key","code":"bad_request"}`)
		return
	}
	next, err := v.nonces.Nonce(context.Background(), pk)
	if err != nil {
		rc.SetStatusCode(http.StatusServiceUnavailable)
		rc.SetBodyString(`{"error":"cannot serve at the moment, try again later","code":"unavailable"}`)
		return
	}
	rc.SetBodyString(`{"edge":"` + pk.String() + `","next_nonce":` + strconv.FormatUint(next, 10) + `}`)
}
