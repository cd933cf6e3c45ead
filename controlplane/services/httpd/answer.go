package httpd

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"
)

// Words for the code of a refusal that every service may give; clients branch on
// them.
const (
	CodeBadRequest  = "bad_request"
	CodeNotFound    = "not_found"
	CodeMethod      = "method"
	CodeRate        = "rate"
	CodeUnavailable = "unavailable"
	CodeTooLarge    = "too_large"
)

// A refusal is the body of every answer that is an error.
type refusal struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// Refuse answers with {"error": text, "code": code}. With 429 and 503 goes when to
// come back.
func Refuse(rc *fasthttp.RequestCtx, status int, code, text string) {
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		rc.Response.Header.Set("Retry-After", strconv.Itoa(RetryAfter()))
	}
	JSON(rc, status, refusal{Error: text, Code: code})
}

// JSON answers with v, which must be something that JSON can say.
func JSON(rc *fasthttp.RequestCtx, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("httpd: " + err.Error())
	}
	Raw(rc, status, b)
}

// Raw answers with body, which is JSON, and keeps it.
func Raw(rc *fasthttp.RequestCtx, status int, body []byte) {
	rc.SetStatusCode(status)
	rc.SetContentType("application/json")
	rc.Response.SetBodyRaw(body)
}
