package transport

import (
	"errors"
	"fmt"
	"strings"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("transport: no such transport")
	ErrExists   = errors.New("transport: there is such a transport already")
	ErrSelf     = errors.New("transport: a visor needs no transport to itself")
	ErrType     = errors.New("transport: no such type: use stcpr, sudph or dmsg")
	// ErrNoWay says that nothing connects to the other visor now.
	ErrNoWay  = errors.New("transport: no way to that visor")
	ErrClosed = errors.New("transport: the visor is stopping")
)

// A WayError is why one way of connecting failed.
type WayError struct {
	Type string // stcpr, sudph or dmsg
	Err  error
}

// An EnsureError says why there is no link to PK, way by way. It is an ErrNoWay.
type EnsureError struct {
	PK   cipher.PubKey
	Ways []WayError
}

// Error names each way and what became of it.
func (e *EnsureError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "transport: no way to %s", e.PK)
	sep := ": "
	for _, w := range e.Ways {
		b.WriteString(sep + w.Type + ": " + w.Err.Error())
		sep = "; "
	}
	return b.String()
}

// Unwrap returns ErrNoWay and the errors of the ways.
func (e *EnsureError) Unwrap() []error {
	errs := []error{ErrNoWay}
	for _, w := range e.Ways {
		errs = append(errs, w.Err)
	}
	return errs
}
