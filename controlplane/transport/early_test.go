package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// TestEnsureBeforeRun: a visor answers its operator a moment before its transports are
// kept, and turned him away then.
func TestEnsureBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newServices()
		pk, sk := cipher.GenerateKeyPair()
		id, _ := cipher.GenerateKeyPair()
		m, err := New(Config{SecKey: sk, Instance: deployment.NewInstance(time.Now()), Members: []Member{sv.member(id, pk)}, Log: zerolog.Nop()})
		must(t, err)
		b := &bubble{Manager: m, plane: newFakePlane(m)}
		m.plane, m.overlay, m.deaf = b.plane, deadOverlay{}, true
		peer, _ := b.neighbour(sv, "10.0.0.1:1")
		if err := m.Ensure(t.Context(), peer); err != nil {
			t.Error(err)
		}
		if !m.isUp(peer, link.STCPR) {
			t.Error("no link")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		must(t, m.Run(ended))
		other, _ := b.neighbour(sv, "10.0.0.2:1")
		if err := m.Ensure(t.Context(), other); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}
