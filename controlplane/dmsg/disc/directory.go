package disc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Directory gives entries out and takes them. HTTPClient and Static are
// directories. All methods may be called concurrently; entries are shared, read
// only.
type Directory interface {
	// Entry returns the entry of pk, or ErrNotFound.
	Entry(ctx context.Context, pk cipher.PubKey) (*Entry, error)
	// AvailableServers returns the servers that take more sessions, those with the
	// most room first, or ErrNoServers.
	AvailableServers(ctx context.Context) ([]*Entry, error)
	// AllServers returns every server, or ErrNoServers.
	AllServers(ctx context.Context) ([]*Entry, error)
	// Put publishes a signed entry. ErrSequence says that a newer one is there.
	Put(ctx context.Context, e *Entry) error
	// Delete takes back a signed entry: sign a fresh one, with a higher sequence
	// and the time of now, for old ones may not be believed.
	Delete(ctx context.Context, e *Entry) error
}

// updateTries is how often Update tries again after somebody else, who has the
// same key, was faster; then it gives up.
const updateTries = 4

// Update publishes the next entry of the key of sk: it asks for the present one,
// has set fill in the parts of a new one, dates and signs it and puts it. set gets
// an entry with Version and Static only and may be called several times.
//
// It fails at once with the directory's error, except where the directory already
// has a newer sequence: then it asks again, a few times with a pause, and fails
// with ErrSequence. The entry that was published is returned.
func Update(ctx context.Context, d Directory, sk cipher.SecKey, set func(*Entry)) (*Entry, error) {
	pk, err := sk.PubKey()
	if err != nil {
		return nil, fmt.Errorf("disc: update: %w", err)
	}
	for try := 1; ; try++ {
		e := &Entry{Version: Version, Static: pk}
		set(e)
		old, err := d.Entry(ctx, pk)
		switch {
		case err == nil:
			e.Sequence = old.Sequence + 1
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrSignature):
			return nil, err
		}
		e.Timestamp = time.Now().UnixNano()
		if old != nil {
			e.Timestamp = max(e.Timestamp, old.Timestamp+1) // a clock that was set back
		}
		if err := e.Sign(sk); err != nil {
			return nil, err
		}
		err = d.Put(ctx, e)
		if err == nil {
			return e, nil
		}
		if try == updateTries || !errors.Is(err, ErrSequence) && !errors.Is(err, ErrFirstSequence) {
			return nil, err
		}
		// Two programs with one key must not wait in step.
		pause := time.Duration(try) * (100*time.Millisecond + rand.N(200*time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
		}
	}
}
