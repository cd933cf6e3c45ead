package deployment

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Code says in one word why a service refused.
type Code string

// The codes.
const (
	// CodeUnauthorized: no signature, or one that does not hold.
	CodeUnauthorized Code = "unauthorized" //nolint:misspell // HTTP's word, and on the wire

	CodeClock        Code = "clock"         // the request's time is too far from the service's
	CodeReplay       Code = "replay"        // the same request came before
	CodeForbidden    Code = "forbidden"     // who asks is known and may not
	CodeNotFound     Code = "not_found"     //
	CodeMethod       Code = "method"        // the path does not take this method
	CodeConflict     Code = "conflict"      // contradicts what is there
	CodeDuplicateKey Code = "duplicate_key" // another machine runs with the same key
	CodeLimit        Code = "limit"         // the key has as many of them as it may have
	CodeRate         Code = "rate"          // too often; try again later
	CodeBadRequest   Code = "bad_request"   //
	CodeUnavailable  Code = "unavailable"   // the service, or its store, cannot serve at the moment
)

// An Error is what a service refuses a request with. On the wire it is
// {"error": Text, "code": Code}.
type Error struct {
	Status int    `json:"-"` // HTTP
	Text   string `json:"error"`
	Code   Code   `json:"code"`
	// ServerTime is the service's clock in Unix milliseconds; with CodeClock only.
	ServerTime int64 `json:"server_time,omitempty"`
	// RetryAfter is how long the service asks to wait; 0: it does not say.
	RetryAfter time.Duration `json:"-"`
}

// Sentinels for errors.Is, which compares codes.
var (
	ErrUnauthorized = &Error{Status: http.StatusUnauthorized, Code: CodeUnauthorized, Text: "the request is not signed as it must be"}
	ErrClock        = &Error{Status: http.StatusUnauthorized, Code: CodeClock, Text: "the request's time is too far from the service's"}
	ErrReplay       = &Error{Status: http.StatusUnauthorized, Code: CodeReplay, Text: "this request was made before"}
	ErrForbidden    = &Error{Status: http.StatusForbidden, Code: CodeForbidden, Text: "not allowed for this key"}
	ErrNotFound     = &Error{Status: http.StatusNotFound, Code: CodeNotFound, Text: "not found"}
	ErrMethod       = &Error{Status: http.StatusMethodNotAllowed, Code: CodeMethod, Text: "method not allowed"}
	ErrConflict     = &Error{Status: http.StatusConflict, Code: CodeConflict, Text: "contradicts what is there"}
	ErrDuplicateKey = &Error{Status: http.StatusConflict, Code: CodeDuplicateKey, Text: "another machine runs with this key"}
	ErrLimit        = &Error{Status: http.StatusForbidden, Code: CodeLimit, Text: "this key has as many as it may have"}
	ErrRate         = &Error{Status: http.StatusTooManyRequests, Code: CodeRate, Text: "too many requests, try again later"}
	ErrBadRequest   = &Error{Status: http.StatusBadRequest, Code: CodeBadRequest, Text: "malformed request"}
	ErrUnavailable  = &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Text: "cannot serve at the moment, try again later"}
)

// Error returns the text, for the service's name stands before it.
func (e *Error) Error() string { return e.Text }

// Is compares codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns a copy of e with another text.
func (e *Error) With(text string) *Error {
	c := *e
	c.Text = text
	return &c
}

// ErrAnswer says that what answered does not speak as the service does.
var ErrAnswer = errors.New("not an answer of this service")

// errNoAnswer is ErrUnavailable for a service that is not reached.
var errNoAnswer = ErrUnavailable.With("no answer")

// codeOf returns the code of a refusal that names none.
func codeOf(status int) Code {
	switch {
	case status == http.StatusUnauthorized:
		return CodeUnauthorized
	case status == http.StatusForbidden:
		return CodeForbidden
	case status == http.StatusNotFound:
		return CodeNotFound
	case status == http.StatusConflict:
		return CodeConflict
	case status == http.StatusTooManyRequests:
		return CodeRate
	case status == http.StatusRequestTimeout, status >= 500:
		return CodeUnavailable
	}
	return CodeBadRequest
}

// maxText is how much of a refusal's text is kept, in bytes, and maxRetryAfter how
// long a service can make its callers wait.
const (
	maxText       = 300
	maxRetryAfter = 5 * time.Minute
)

// parseError reads a refusal: ours, the deployed services' {"error": {"message"}} and
// {"message"}, or anything. It always returns one.
func parseError(status int, body []byte, h http.Header) *Error {
	var wire struct {
		Error      json.RawMessage `json:"error"`
		Message    string          `json:"message"`
		Code       json.RawMessage `json:"code"`
		ServerTime int64           `json:"server_time"`
	}
	e := &Error{Status: status}
	if json.Unmarshal(body, &wire) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(wire.Error, &e.Text) != nil && json.Unmarshal(wire.Error, &inner) == nil {
			e.Text = inner.Message
		}
		if e.Text == "" {
			e.Text = wire.Message
		}
		_ = json.Unmarshal(wire.Code, &e.Code) // a number, where an old service speaks
		e.ServerTime = wire.ServerTime
	}
	if e.Code == "" || len(e.Code) > 32 {
		e.Code = codeOf(status)
	}
	if e.Text == "" {
		e.Text = strconv.Itoa(status) + " " + http.StatusText(status)
	}
	if len(e.Text) > maxText {
		e.Text = strings.ToValidUTF8(e.Text[:maxText], "") + "…"
	}
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	return e
}
