package deployment

import "net/http"

// A Code says in one word why a service refused.
type Code string

// The codes.
const (
	CodeUnauthorized Code = "unauthorized"  // no signature, or one that does not hold
	CodeClock        Code = "clock"         // the request's time is too far from the service's
	CodeReplay       Code = "replay"        // the same request came before
	CodeForbidden    Code = "forbidden"     // who asks is known and may not
	CodeNotFound     Code = "not_found"     //
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
}

// Sentinels for errors.Is, which compares codes.
var (
	ErrUnauthorized = &Error{Status: http.StatusUnauthorized, Code: CodeUnauthorized, Text: "the request is not signed as it must be"}
	ErrClock        = &Error{Status: http.StatusUnauthorized, Code: CodeClock, Text: "the request's time is too far from the service's"}
	ErrReplay       = &Error{Status: http.StatusUnauthorized, Code: CodeReplay, Text: "this request was made before"}
	ErrForbidden    = &Error{Status: http.StatusForbidden, Code: CodeForbidden, Text: "not allowed for this key"}
	ErrNotFound     = &Error{Status: http.StatusNotFound, Code: CodeNotFound, Text: "not found"}
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
