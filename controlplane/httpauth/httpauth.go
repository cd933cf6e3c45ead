// Package httpauth says who made a request to a service: it verifies signed requests,
// as package deployment signs them, and those of deployed visors.
//
// A signed request is good once, at one service, within a minute. Which requests have
// been made is remembered in memory, of one process: where several instances serve
// the same names, what was sent to one can be sent to another within that minute, so
// handlers let a request that comes again change nothing.
package httpauth

import (
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Window is how far the time of a request may be from the service's.
const Window = 60 * time.Second

// Options of a Verifier.
type Options struct {
	// Hosts are the names under which callers reach the service over HTTP: "name", at
	// the port where it listens or at the default port of HTTP or HTTPS, or
	// "name:port". The address at which a connection arrived is always accepted.
	Hosts []string
	// Key is the service's key, its name over dmsg; zero: it is not on dmsg.
	Key cipher.PubKey
	// Nonces keeps the nonces of the scheme of deployed visors; nil: it is refused.
	Nonces Nonces
	// MaxReplay is how many requests are remembered, some 40 bytes each; 0:
	// DefaultMaxReplay.
	MaxReplay int
	Now       func() time.Time // nil: time.Now
}

// DefaultMaxReplay is how many requests a Verifier remembers where nothing is said:
// 2,000 in each second of the window.
const DefaultMaxReplay = 1 << 18

// A Verifier verifies requests. It may be used concurrently.
type Verifier struct {
	hosts  hosts
	nonces Nonces
	replay *replay
	now    func() time.Time
}

// NewVerifier returns a Verifier. It takes no request from before now, for it does
// not know which of those were made.
func NewVerifier(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxReplay <= 0 {
		o.MaxReplay = DefaultMaxReplay
	}
	return &Verifier{
		hosts: newHosts(o.Hosts, o.Key), nonces: o.Nonces, now: o.Now,
		replay: newReplay(o.MaxReplay, o.Now().UnixMilli()),
	}
}

// Verify returns the key of who made the request. stream is the key that dmsg proved
// for the connection, zero over TCP: a stream's key needs no signature, and must be
// the signer where there is one. Errors are *deployment.Error.
func (v *Verifier) Verify(rc *fasthttp.RequestCtx, stream cipher.PubKey) (cipher.PubKey, error) {
	h := &rc.Request.Header
	if len(h.Peek(deployment.HeaderSig)) == 0 {
		if stream.IsZero() {
			return cipher.PubKey{}, deployment.ErrUnauthorized.With("the request is not signed; see the headers SW-Public, Sky-Time, Sky-Nonce and Sky-Sig")
		}
		return stream, v.claims(rc, stream)
	}
	pk, err := v.signed(rc, !stream.IsZero())
	if err != nil {
		return cipher.PubKey{}, err
	}
	if !stream.IsZero() && pk != stream {
		return cipher.PubKey{}, errOther
	}
	return pk, nil
}

var errOther = deployment.ErrUnauthorized.With("the request speaks for another key than that of its dmsg stream")

// claims fails where a request over dmsg claims to be of another key than stream.
func (v *Verifier) claims(rc *fasthttp.RequestCtx, stream cipher.PubKey) error {
	claimed := rc.Request.Header.Peek(deployment.HeaderKey)
	if len(claimed) == 0 {
		return nil
	}
	if pk, err := cipher.ParsePubKeyText(string(claimed)); err != nil || pk != stream {
		return errOther
	}
	return nil
}

// signed verifies the signature of a request.
func (v *Verifier) signed(rc *fasthttp.RequestCtx, dmsg bool) (pk cipher.PubKey, err error) {
	h := &rc.Request.Header
	for _, name := range []string{deployment.HeaderKey, deployment.HeaderTime, deployment.HeaderNonce, deployment.HeaderSig} {
		if n := len(h.PeekAll(name)); n != 1 {
			return pk, deployment.ErrUnauthorized.With(fmt.Sprintf("the request has the header %s %d times; want it once", name, n))
		}
	}
	if pk, err = cipher.ParsePubKeyText(string(h.Peek(deployment.HeaderKey))); err != nil {
		return pk, deployment.ErrUnauthorized.With(deployment.HeaderKey + " is no public key")
	}
	ms, err := strconv.ParseInt(string(h.Peek(deployment.HeaderTime)), 10, 64)
	if err != nil {
		return pk, deployment.ErrUnauthorized.With(deployment.HeaderTime + " is no time in Unix milliseconds")
	}
	nonce := string(h.Peek(deployment.HeaderNonce))
	if len(nonce) != 2*deployment.NonceLen {
		return pk, deployment.ErrUnauthorized.With(deployment.HeaderNonce + " is not of 32 hex digits")
	}
	var sig cipher.Sig
	if err := sig.UnmarshalText(h.Peek(deployment.HeaderSig)); err != nil {
		return pk, deployment.ErrUnauthorized.With(deployment.HeaderSig + " is no signature")
	}
	host := string(h.Host())
	if err := v.hosts.check(host, rc.LocalAddr(), dmsg); err != nil {
		return pk, err
	}
	// The time first, for who has another clock is told so cheaply; a look at what is
	// remembered next, so that replays cost no multiplication; and nothing is
	// remembered before the signature holds.
	now := v.now().UnixMilli()
	if !v.replay.fresh(ms, now) {
		e := *deployment.ErrClock
		e.ServerTime = now
		e.Text = fmt.Sprintf("the request is of %s, here it is %s; set your clock", at(ms), at(now))
		return pk, &e
	}
	digest := deployment.RequestDigest(string(h.Method()), host, string(h.RequestURI()), ms, nonce, rc.PostBody())
	m := markOf(pk, digest)
	if v.replay.has(m, ms) {
		return pk, deployment.ErrReplay
	}
	if err := cipher.VerifyDigest(pk, sig, digest); err != nil {
		return pk, deployment.ErrUnauthorized.With("the signature does not hold for this request and key")
	}
	return pk, v.replay.add(m, ms, now)
}

// at renders a time; what is far off any calendar stays a number.
func at(ms int64) string {
	if ms < 0 || ms > 1<<47 {
		return strconv.FormatInt(ms, 10) + " ms"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05 UTC")
}
