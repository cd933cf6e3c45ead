package api

import (
	"errors"
	"fmt"
	"net/http"
)

// An Error is a call that failed at the visor. On the wire it is
// {"error": text, "code": word}; programs branch on the word, with errors.Is and
// the sentinels below.
type Error struct {
	Text string `json:"error"` // what was wrong, where, and what to do
	Code string `json:"code"`
}

// What a call can fail with. errors.Is compares the code alone.
var (
	ErrBadRequest  = &Error{"bad request", "bad_request"}
	ErrNotFound    = &Error{"not found", "not_found"}
	ErrExists      = &Error{"exists already", "exists"}
	ErrConflict    = &Error{"in use by something else", "conflict"}
	ErrDenied      = &Error{"not allowed", "denied"}
	ErrUnreachable = &Error{"not reachable", "unreachable"}
	ErrTimeout     = &Error{"timed out", "timeout"}
	ErrInternal    = &Error{"internal error", "internal"}
	// ErrNoNetwork says that the visor is in no deployment, which the call needs.
	ErrNoNetwork = &Error{"this visor is in no deployment", "no_network"}
	// ErrNoVisor is never sent: nobody answers at the socket.
	ErrNoVisor = &Error{"no visor answers", "no_visor"}
)

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Is says whether target is an Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns an error of e's code with a text of its own.
func (e *Error) With(format string, args ...any) *Error {
	return &Error{fmt.Sprintf(format, args...), e.Code}
}

// status returns the HTTP status for e's code.
func (e *Error) status() int {
	switch e.Code {
	case ErrBadRequest.Code:
		return http.StatusBadRequest
	case ErrNotFound.Code:
		return http.StatusNotFound
	case ErrExists.Code, ErrConflict.Code, ErrNoNetwork.Code:
		return http.StatusConflict
	case ErrDenied.Code:
		return http.StatusForbidden
	case ErrUnreachable.Code:
		return http.StatusBadGateway
	case ErrTimeout.Code:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// asError finds or makes the Error that err is sent as.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		// What wraps it may say more than it does.
		return &Error{err.Error(), e.Code}
	}
	return &Error{err.Error(), ErrInternal.Code}
}
