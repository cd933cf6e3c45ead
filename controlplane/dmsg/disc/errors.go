package disc

import (
	"errors"
	"net/http"
	"strings"
)

// A Fault is a refusal by a discovery. On the wire it is
// {"message": Text, "code": Status}, and deployed clients compare the text.
type Fault struct {
	Status int
	Text   string
}

// Error returns the text.
func (f *Fault) Error() string { return "disc: " + f.Text }

// validation is what the text of every 422 begins with.
const validation = "entry validation error: "

func invalid(text string) *Fault {
	return &Fault{http.StatusUnprocessableEntity, validation + text}
}

// What a discovery refuses requests with. Callers branch on them with errors.Is;
// nobody writes to them.
var (
	ErrNotFound     = &Fault{http.StatusNotFound, "entry of public key is not found"}
	ErrNoServers    = &Fault{http.StatusNotFound, "no delegated dmsg servers available for remote"}
	ErrUnauthorized = &Fault{http.StatusUnauthorized, "invalid signature"}
	ErrBadInput     = &Fault{http.StatusBadRequest, "error bad input"}
	// ErrUnexpected is what a discovery answers to a body that is no entry, and
	// when its own storage fails, there with status 503: trying again may help.
	ErrUnexpected = &Fault{http.StatusInternalServerError, "something unexpected happened"}

	ErrFirstSequence   = invalid("new entry has non-zero sequence")
	ErrNoKey           = invalid("entry Keys is nil")
	ErrNoSignature     = invalid("entry has no signature")
	ErrNoVersion       = invalid("entry has no version")
	ErrNoRole          = invalid("entry has neither client or server field")
	ErrSequence        = invalid("sequence field of new entry is not sequence of old entry + 1")
	ErrTimestampOrder  = invalid("advertised entry timestamp is not greater than previous")
	ErrOutdated        = invalid("advertised entry has outdated timestamp")
	ErrLocalAddress    = invalid("advertising localhost listening address is not allowed in production mode")
	ErrNoServerAddress = invalid("server address cannot be empty")

	// ErrRateLimited says to ask less often. The deployed discovery of 2024 does
	// not send it.
	ErrRateLimited = &Fault{http.StatusTooManyRequests, "too many requests, try again later"}
)

// faults are all refusals that have a name.
func faults() []*Fault {
	return []*Fault{
		ErrNotFound, ErrNoServers, ErrUnauthorized, ErrBadInput, ErrUnexpected, ErrFirstSequence, ErrNoKey,
		ErrNoSignature, ErrNoVersion, ErrNoRole, ErrSequence, ErrTimestampOrder, ErrOutdated, ErrLocalAddress,
		ErrNoServerAddress, ErrRateLimited,
	}
}

// maxFaultText bounds what of a foreign text is shown, in bytes.
const maxFaultText = 200

// faultFor returns the fault with this text, or a new one.
func faultFor(status int, text string) *Fault {
	text = strings.TrimSpace(text)
	for _, f := range faults() {
		if f.Text == text {
			return f
		}
	}
	if status == http.StatusTooManyRequests {
		return ErrRateLimited
	}
	return &Fault{status, strings.ToValidUTF8(text[:min(len(text), maxFaultText)], "?")}
}

// What goes wrong without a discovery's refusal.
var (
	// ErrFormat says that bytes are no entry.
	ErrFormat = errors.New("disc: malformed entry")
	// ErrSignature says that an entry is not signed by the key it speaks for.
	ErrSignature = errors.New("disc: entry is not signed by its key")
	// ErrUnreachable says that the discovery gave no answer.
	ErrUnreachable = errors.New("disc: discovery is not reachable")
	// ErrAnswer says that what answered does not speak as a discovery does.
	ErrAnswer = errors.New("disc: unexpected answer")
)
