// Package httpauth says who made a request to a service: it verifies signed requests,
// as package deployment signs them, and those of deployed visors.
package httpauth

import (
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Window is how far the time of a request may be from the service's.
const Window = 60 * time.Second

// Options of a Verifier.
type Options struct {
	// Hosts are the names under which callers reach the service over HTTP: "name" or
	// "name:port". The address at which a connection arrived is always accepted.
	Hosts []string
	// Key is the service's key, its name over dmsg; zero: it is not on dmsg.
	Key cipher.PubKey
	// Nonces keeps the nonces of the scheme of deployed visors; nil: it is refused.
	Nonces Nonces
	// MaxReplay is how many requests are remembered; 0: DefaultMaxReplay.
	MaxReplay int
	Now       func() time.Time // nil: time.Now
}

// DefaultMaxReplay is how many requests a Verifier remembers where nothing is said.
const DefaultMaxReplay = 1 << 18

// Nonces keeps a counter for each key.
type Nonces interface {
	// Nonce returns the next nonce of pk, 0 at first.
	Nonce(ctx context.Context, pk cipher.PubKey) (uint64, error)
	// Consume makes nonce+1 the next one if nonce is it, else fails with
	// ErrNonceUsed.
	Consume(ctx context.Context, pk cipher.PubKey, nonce uint64) error
}

// ErrNonceUsed says that a nonce is not the next one.
var ErrNonceUsed = errors.New("httpauth: nonce was used")

// A Verifier verifies requests. It may be used concurrently.
type Verifier struct{}

// NewVerifier returns a Verifier.
func NewVerifier(o Options) *Verifier { return &Verifier{} }

// Verify returns the key of who made the request. stream is the key that dmsg proved
// for the connection, zero over TCP: a stream's key needs no signature, and must be
// the signer where there is one. Errors are *deployment.Error.
func (v *Verifier) Verify(rc *fasthttp.RequestCtx, stream cipher.PubKey) (cipher.PubKey, error) {
	return cipher.PubKey{}, errors.New("not yet")
}

// VerifyLegacy is Verify and takes requests signed by the scheme of deployed visors
// besides, where there are Nonces. Its nonce is used up whatever becomes of the
// request after that.
func (v *Verifier) VerifyLegacy(rc *fasthttp.RequestCtx, stream cipher.PubKey) (pk cipher.PubKey, legacy bool, err error) {
	return cipher.PubKey{}, false, errors.New("not yet")
}

// ServeNonce answers GET /security/nonces/{pk}, text being its last part.
func (v *Verifier) ServeNonce(rc *fasthttp.RequestCtx, text string) {}
