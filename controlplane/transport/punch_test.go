package transport

import (
	"context"
	"errors"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Offers that cross: that of the smaller key counts, at both ends.
func TestGlare(t *testing.T) {
	one, oneSK := cipher.GenerateKeyPair()
	two, twoSK := cipher.GenerateKeyPair()
	small, large, smallSK, largeSK := one, two, oneSK, twoSK
	if one.Compare(two) > 0 {
		small, large, smallSK, largeSK = two, one, twoSK, oneSK
	}
	manager := func(sk cipher.SecKey) *Manager {
		m, err := New(Config{SecKey: sk})
		must(t, err)
		return m
	}
	ctx := context.Background()

	m := manager(smallSK)
	ours := newPunch(ctx, large, true)
	if m.enter(ours) != nil {
		t.Fatal("the first one")
	}
	if other := m.enter(newPunch(ctx, large, false)); other != ours || ours.ctx.Err() != nil {
		t.Error("the smaller key gave way")
	}
	if other := m.enter(newPunch(ctx, large, true)); other != ours {
		t.Error("two of our own")
	}
	m.leave(ours)
	if len(m.punches) != 0 {
		t.Error("it stays")
	}

	m = manager(largeSK)
	ours = newPunch(ctx, small, true)
	if m.enter(ours) != nil {
		t.Fatal("the first one")
	}
	theirs := newPunch(ctx, small, false)
	if m.enter(theirs) != nil || !errors.Is(context.Cause(ours.ctx), errGlare) {
		t.Error("the larger key did not give way")
	}
	m.leave(ours)
	if m.punches[small] != theirs {
		t.Error("what gave way took the other one along")
	}
	if other := m.enter(newPunch(ctx, small, true)); other != theirs {
		t.Error("an offer of ours beside theirs")
	}
	again := newPunch(ctx, small, false)
	if m.enter(again) != nil || theirs.ctx.Err() == nil {
		t.Error("a peer that begins anew is not heard")
	}
	m.leave(theirs)
	m.leave(again)
}
