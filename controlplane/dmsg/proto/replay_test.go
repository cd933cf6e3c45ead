package proto

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// clock is a clock that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func hashOf(n uint64) (h [32]byte) {
	binary.BigEndian.PutUint64(h[:], n)
	return h
}

// TestReplayModel compares with a list of all that was ever seen: what is younger
// than the window is refused, what is older than three is forgotten, and between
// these either will do.
func TestReplayModel(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	c := &clock{time.Unix(1e9, 0)}
	const window = time.Minute
	r := NewReplay(window, 1<<20, c.now)
	seen := map[uint64]time.Time{}
	refused, forgotten := 0, 0
	for range 200000 {
		c.t = c.t.Add(time.Duration(random.IntN(200)) * time.Millisecond)
		if random.IntN(5000) == 0 {
			c.t = c.t.Add(time.Duration(random.IntN(9)) * window / 2)
		}
		n := random.Uint64N(3000)
		at, known := seen[n]
		err := r.Check(hashOf(n))
		age := c.t.Sub(at)
		switch {
		case err != nil && !errors.Is(err, ErrReqTimestamp):
			t.Fatal(err)
		case err != nil && (!known || age >= 3*window):
			t.Fatalf("seed %d: %d is refused after %v", seed, n, age)
		case err == nil && known && age < window:
			t.Fatalf("seed %d: %d is new again after %v", seed, n, age)
		case err != nil:
			refused++
		default:
			if known {
				forgotten++
			}
			seen[n] = c.t
		}
	}
	if refused < 1000 || forgotten < 1000 {
		t.Errorf("%d refused, %d forgotten: the model says little", refused, forgotten)
	}
}

func TestReplayIsBounded(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	r := NewReplay(time.Hour, 100, c.now)
	for n := range uint64(10000) {
		if err := r.Check(hashOf(n)); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		if len(r.cur)+len(r.old) > 200 {
			t.Fatalf("%d hashes", len(r.cur)+len(r.old))
		}
		if n >= 100 && r.Check(hashOf(n-99)) == nil {
			t.Fatalf("%d was forgotten too soon", n-99)
		}
	}
}

// TestReplayBadClock: our own clock may be set back, or years forward.
func TestReplayBadClock(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	r := NewReplay(time.Minute, 100, c.now)
	if err := r.Check(hashOf(1)); err != nil {
		t.Fatal(err)
	}
	c.t = time.Unix(0, 0)
	if r.Check(hashOf(1)) == nil {
		t.Error("forgotten because the clock was set back")
	}
	if err := r.Check(hashOf(2)); err != nil {
		t.Error(err)
	}
	c.t = time.Unix(4e9, 0)
	for n := range uint64(3) {
		if err := r.Check(hashOf(n)); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
}
