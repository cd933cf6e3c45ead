package dmsg

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func server(room int, kind string) *disc.Entry {
	pk, _ := cipher.GenerateKeyPair()
	e := disc.NewServer(pk, "192.0.2.1:8081", room, time.Now())
	e.Server.ServerType = kind
	return e
}

func none(cipher.PubKey) bool { return false }

func TestRelaysFavourRoomyAndNear(t *testing.T) {
	roomy, full, far := server(1000, ""), server(10, ""), server(1000, "")
	r := newRelays(nil, "")
	r.list([]*disc.Entry{roomy, full, far})
	r.worked(far.Static, 150*time.Millisecond) // weight 250
	first := map[*disc.Entry]int{}
	const draws = 4000
	for range draws {
		chosen, _ := r.choose(none)
		if len(chosen) != 3 {
			t.Fatalf("chose %d of 3", len(chosen))
		}
		first[chosen[0]]++
	}
	// Expected 1000, 10 and 250 of 1260; the tolerance is far beyond chance.
	for e, want := range map[*disc.Entry]float64{roomy: 1000. / 1260, full: 10. / 1260, far: 250. / 1260} {
		if got := float64(first[e]) / draws; got < want-0.06 || got > want+0.06 {
			t.Errorf("room %d: first in %.3f of the draws, want %.3f", e.Server.AvailableSessions, got, want)
		}
	}
}

func TestRelaysChoose(t *testing.T) {
	official, community, pinned := server(1, disc.Official), server(1, disc.Community), server(0, "")
	r := newRelays([]*disc.Entry{pinned}, disc.Official)
	r.list([]*disc.Entry{official, community})
	has := func(e *disc.Entry) bool {
		chosen, _ := r.choose(none)
		for _, c := range chosen {
			if c == e {
				return true
			}
		}
		return false
	}
	if !has(official) || has(community) || !has(pinned) {
		t.Errorf("official %v, community %v, pinned %v", has(official), has(community), has(pinned))
	}
	// What the discovery says about a pinned relay goes before what was pinned.
	moved := disc.NewServer(pinned.Static, "192.0.2.2:8081", 5, time.Now())
	r.list([]*disc.Entry{moved})
	if !has(moved) || has(pinned) || r.entry(pinned.Static) != moved {
		t.Error("the pinned address is taken although the discovery knows a newer one")
	}
	if chosen, _ := r.choose(func(pk cipher.PubKey) bool { return pk == moved.Static }); len(chosen) != 0 {
		t.Errorf("chose %v, which was to be skipped", chosen)
	}
}

func TestRelaysBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := server(1, "")
		r := newRelays(nil, "")
		r.list([]*disc.Entry{e})
		for want := backoffFirst; want <= 2*backoffMost; want *= 2 {
			r.failed(e.Static)
			want := min(want, backoffMost)
			chosen, again := r.choose(none)
			if len(chosen) != 0 || again < want/2 || again > want*3/2 {
				t.Fatalf("chose %v, again in %v, want none and %v ± 50%%", chosen, again, want)
			}
			time.Sleep(again)
			if chosen, _ := r.choose(none); len(chosen) != 1 {
				t.Fatal("not chosen although the time is up")
			}
		}
		r.ended(e.Static, steady) // a good session makes up for what was before
		if _, again := r.choose(none); again > backoffFirst*3/2 {
			t.Errorf("again in %v after a steady session", again)
		}
		// Records of relays that have left go with them.
		time.Sleep(time.Hour)
		r.list(nil)
		if len(r.record) != 0 {
			t.Errorf("%d records of relays that are gone", len(r.record))
		}
	})
}
