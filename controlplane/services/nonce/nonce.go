// Package nonce keeps the nonces of deployed visors in a store.
package nonce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Prefix is the namespace in the store: nonce/<66 hex digits>.
const Prefix = "nonce/"

const (
	// ttl is how long a nonce is kept after it was used: longer than what was used could
	// be fresh, and not much, for anybody can make keys, and each that signs something
	// takes a place in the store. Who comes back later asks for the next nonce.
	ttl = 10 * time.Minute
	// fresh is how long one that was only asked for is good.
	fresh = time.Minute
)

// Nonces implements httpauth.Nonces over a store, which any number of instances may
// share. Asking for a nonce stores nothing, so that strangers cannot fill the store:
// the next nonce of a key that has none is the present time in Unix milliseconds. So
// it rises even when a key's nonce was forgotten, and none ever comes again.
type Nonces struct {
	st  store.Store
	now func() time.Time
}

var _ httpauth.Nonces = (*Nonces)(nil)

// New returns the nonces in st.
func New(st store.Store, now func() time.Time) *Nonces { return &Nonces{st, now} }

// Nonce implements httpauth.Nonces.
func (n *Nonces) Nonce(ctx context.Context, pk cipher.PubKey) (uint64, error) {
	next, _, err := n.read(ctx, pk)
	return next, err
}

// Consume implements httpauth.Nonces.
func (n *Nonces) Consume(ctx context.Context, pk cipher.PubKey, nonce uint64) error {
	next, version, err := n.read(ctx, pk)
	if err != nil {
		return err
	}
	if version == 0 && (nonce > next || next-nonce > uint64(fresh/time.Millisecond)) || version != 0 && nonce != next {
		return httpauth.ErrNonceUsed
	}
	_, err = n.st.Put(ctx, Prefix+pk.String(), binary.BigEndian.AppendUint64(nil, nonce+1), ttl, store.IfVersion(version))
	if errors.Is(err, store.ErrConflict) {
		return httpauth.ErrNonceUsed
	}
	if err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	return nil
}

// read returns the next nonce of pk and the version under which the store has it, 0
// if it has none.
func (n *Nonces) read(ctx context.Context, pk cipher.PubKey) (next, version uint64, err error) {
	it, err := n.st.Get(ctx, Prefix+pk.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return uint64(n.now().UnixMilli()), 0, nil
	case err != nil:
		return 0, 0, fmt.Errorf("nonce: %w", err)
	case len(it.Value) != 8:
		return uint64(n.now().UnixMilli()), it.Version, nil // of another program: replaced
	}
	return binary.BigEndian.Uint64(it.Value), it.Version, nil
}
