package dmsgdisc

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// key returns a key of its own for each n; it need not be a point here.
func key(n int) cipher.PubKey { return cipher.PubKey{2, byte(n >> 8), byte(n)} }

func entryItem(n int, version uint64, expires time.Time) *item {
	return &item{pk: key(n), version: version, expires: expires, raw: []byte("{}"), client: true}
}

// An outage of the store stops the clock of entries, for a while.
func TestMirrorOutage(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	m := newMirror()
	m.put(entryItem(1, 1, at(time.Minute)))
	m.put(entryItem(2, 2, time.Time{}))
	check := func(when string, now time.Time, want1 bool) {
		t.Helper()
		if got := m.get(key(1), now) != nil; got != want1 {
			t.Errorf("%s: entry is given out: %v, want %v", when, got, want1)
		}
		if m.get(key(2), now) == nil {
			t.Errorf("%s: the entry that never expires is gone", when)
		}
	}
	check("before", at(59*time.Second), true)
	check("without an outage", at(time.Minute), false)
	m.lose(at(30 * time.Second))
	m.lose(at(50 * time.Second)) // lost already
	check("60 s into the outage", at(90*time.Second), true)
	m.sweep(at(90 * time.Second))
	check("after a sweep", at(90*time.Second), true)
	check("at the end of patience", at(30*time.Second+maxStale), true)
	check("beyond it", at(30*time.Second+maxStale+31*time.Second), false)

	// The store is back after 90 s, without the entry that could not be refreshed.
	back := at(2 * time.Minute)
	m.begin()
	m.put(entryItem(2, 2, time.Time{}))
	m.end(back)
	check("back", back, true)
	check("in the time of grace", back.Add(healGrace-1), true)
	check("after it", back.Add(healGrace), false)
	// Its author takes its place meanwhile with a later version.
	m.put(entryItem(1, 9, back.Add(time.Hour)))
	check("published again", back.Add(healGrace), true)
	// Without an outage what the store has no more is gone.
	m.begin()
	m.put(entryItem(2, 2, time.Time{}))
	m.end(back)
	check("deleted in the store", back, false)
}

// What is put while the store is read must not be taken for gone.
func TestMirrorRound(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	m := newMirror()
	m.put(entryItem(1, 5, time.Time{}))
	m.put(entryItem(2, 6, time.Time{}))
	m.put(entryItem(3, 7, time.Time{}))
	m.begin()
	m.put(entryItem(1, 4, time.Time{})) // read before the last write
	m.put(entryItem(4, 8, time.Time{})) // written after its page was read
	if !m.have(key(2), 6) || m.have(key(3), 6) {
		t.Error("have tells versions wrong")
	}
	m.end(now)
	for n, want := range map[int]uint64{1: 5, 2: 6, 3: 0, 4: 8} {
		if got := m.version(key(n)); got != want {
			t.Errorf("key %d has version %d, want %d", n, got, want)
		}
	}
}

// The mirror against a slow and obvious model: the newest version of each key wins,
// in whatever order writes, notices and rounds come.
func TestMirrorModel(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	now := time.Unix(1_700_000_000, 0)
	m, model := newMirror(), map[int]uint64{}
	version := uint64(0)
	for step := range 20000 {
		n := rnd.IntN(20)
		switch rnd.IntN(4) {
		case 0, 1:
			version++
			model[n] = version
			m.put(entryItem(n, version, time.Time{}))
		case 2: // a late notice
			if v := model[n]; v > 0 {
				m.put(entryItem(n, v-min(v-1, uint64(rnd.IntN(3))), time.Time{}))
			}
		case 3:
			m.drop(key(n), model[n])
			delete(model, n)
		}
		if rnd.IntN(50) == 0 {
			m.begin()
			for n, v := range model {
				m.put(entryItem(n, v, time.Time{}))
			}
			m.end(now)
		}
		if got, want := m.version(key(n)), model[n]; got != want {
			t.Fatalf("seed %d, step %d: key %d has version %d, want %d", seed, step, n, got, want)
		}
	}
	if m.len() != len(model) {
		t.Errorf("%d entries, want %d", m.len(), len(model))
	}
}

func TestRecord(t *testing.T) {
	r := record{refreshes: 1, origin: origin{1, 2, 3, 4, 5, 6, 7, 8}, removed: -5, raw: []byte("{}")}
	got, err := decodeRecord(r.encode())
	if err != nil || got.refreshes != r.refreshes || got.origin != r.origin || got.removed != r.removed || string(got.raw) != "{}" {
		t.Errorf("%+v, %v, want %+v", got, err, r)
	}
	for n := range recordHeader {
		if _, err := decodeRecord(r.encode()[:n]); err == nil {
			t.Errorf("a record of %d bytes", n)
		}
	}
	if _, err := decodeRecord(append([]byte{9}, r.encode()[1:]...)); err == nil {
		t.Error("a record of version 9")
	}
	if _, err := decodeRecord(make([]byte, disc.MaxEntry)); err == nil {
		t.Error("a record of zeros")
	}
}
