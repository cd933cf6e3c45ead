package nonce

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestNonces(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := store.DefaultOptions()
	o.Now = func() time.Time { return now }
	st, err := store.Open(t.Context(), "bolt://"+filepath.Join(t.TempDir(), "n.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	n := New(st, o.Now)
	pk, _ := cipher.GenerateKeyPair()
	other, _ := cipher.GenerateKeyPair()
	next := func() uint64 {
		t.Helper()
		v, err := n.Nonce(t.Context(), pk)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	use := func(nonce uint64) error { return n.Consume(t.Context(), pk, nonce) }

	first := next()
	now = now.Add(10 * time.Second)
	if err := use(first + 20_000); !errors.Is(err, httpauth.ErrNonceUsed) {
		t.Errorf("from the future: %v", err)
	}
	if err := use(first - 60_000); !errors.Is(err, httpauth.ErrNonceUsed) {
		t.Errorf("too old: %v", err)
	}
	if err := use(first); err != nil {
		t.Errorf("first: %v", err)
	}
	if err := use(first); !errors.Is(err, httpauth.ErrNonceUsed) {
		t.Errorf("again: %v", err)
	}
	if got := next(); got != first+1 {
		t.Errorf("next is %d, want %d", got, first+1)
	}
	if err := use(first + 2); !errors.Is(err, httpauth.ErrNonceUsed) {
		t.Errorf("one left out: %v", err)
	}
	if err := use(first + 1); err != nil {
		t.Errorf("second: %v", err)
	}
	if v, _ := n.Nonce(t.Context(), other); v == first+2 {
		t.Error("keys share their nonces")
	}
	// Long after, all of it is forgotten, and no old nonce is good again.
	now = now.Add(ttl + time.Second)
	for _, old := range []uint64{first, first + 1, first + 2} {
		if err := use(old); !errors.Is(err, httpauth.ErrNonceUsed) {
			t.Errorf("%d after it was forgotten: %v", old, err)
		}
	}
	if err := use(next()); err != nil {
		t.Errorf("anew: %v", err)
	}
	// Both of two at once cannot win.
	at := next()
	won := 0
	results := make(chan error, 8)
	for range cap(results) {
		go func() { results <- use(at) }()
	}
	for range cap(results) {
		if err := <-results; err == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d requests used one nonce", won)
	}
}
