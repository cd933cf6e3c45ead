package httpd

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// Refuse answers with e. With 429 and 503 goes when to come back.
func Refuse(rc *fasthttp.RequestCtx, e *deployment.Error) {
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		rc.Response.Header.Set("Retry-After", strconv.Itoa(RetryAfter()))
	}
	JSON(rc, e.Status, e)
}

// JSON answers with v, which must be something that JSON can say.
func JSON(rc *fasthttp.RequestCtx, status int, v any) { Raw(rc, status, encode(v)) }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("httpd: " + err.Error())
	}
	return b
}

// Raw answers with body, which is JSON, and keeps it.
func Raw(rc *fasthttp.RequestCtx, status int, body []byte) {
	rc.SetStatusCode(status)
	rc.SetContentType("application/json")
	rc.Response.SetBodyRaw(body)
}

// An unavailable error is one of a store that does not serve at the moment. Stores are
// not imported: a relay, which uses this package, would carry their code.
type unavailable interface {
	error
	Unavailable()
}

// Fail answers with what err says: a *deployment.Error as it stands, a store that is
// gone as 503. Anything else is told to the log, not to strangers.
func Fail(rc *fasthttp.RequestCtx, err error, log zerolog.Logger) {
	var e *deployment.Error
	var away unavailable
	switch {
	case errors.As(err, &e):
	case errors.As(err, &away):
		e = deployment.ErrUnavailable
	default:
		log.Error().Err(err).Bytes("path", rc.Path()).Msg("request failed")
		e = &deployment.Error{Status: http.StatusInternalServerError, Code: "internal", Text: "the service failed; its log says why"}
	}
	Refuse(rc, e)
}
