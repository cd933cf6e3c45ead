package services

import (
	"context"
	"errors"
	"fmt"

	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// ownerKey is where a store says whose it is.
const ownerKey = "deployment/key"

// claim makes st the store of the deployment pk. It fails where it is that of
// another: what is said to one deployment is not for the other's visors.
func claim(ctx context.Context, st store.Store, pk cipher.PubKey) error {
	_, err := st.Put(ctx, ownerKey, []byte(pk.String()), 0, store.IfAbsent())
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	it, err := st.Get(ctx, ownerKey)
	if err != nil {
		return err
	}
	if owner := string(it.Value); owner != pk.String() {
		return fmt.Errorf("the store is that of the deployment %s, and deployment.key is that of %s: bring the former's key back, or use another store (in Redis, another ?prefix=name:)", owner, pk)
	}
	return nil
}
