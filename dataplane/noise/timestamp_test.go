package noise

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func newClock(t *testing.T, path string, wall time.Time) *Clock {
	t.Helper()
	c, err := NewClock(path, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	c.wall = func() time.Time { return wall }
	return c
}

// Restarts and wall clocks that go back, stop, or never knew the time.
func TestClockNeverGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	good := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	walls := []time.Time{
		good, good, good.Add(-time.Hour), time.Unix(0, 0), time.Unix(-5, 0), time.Unix(0, 0),
		good.Add(time.Second), good.Add(24 * time.Hour), time.Unix(0, 0),
	}
	var last uint64
	for i, wall := range walls {
		c := newClock(t, path, wall) // a restart without any goodbye
		for range 3 {
			now := c.Next()
			if now <= last {
				t.Fatalf("start %d: %d after %d", i, now, last)
			}
			last = now
		}
		if now := uint64(max(wall.UnixNano(), 0)); last < now {
			t.Errorf("start %d: %d is behind the wall clock %d", i, last, now)
		}
	}
	if limit := good.Add(25 * time.Hour); last > uint64(limit.UnixNano()) {
		t.Errorf("%d is far ahead of all wall clocks", last)
	}
}

func TestClockWritesAhead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	wall := time.Unix(1_700_000_000, 0)
	c := newClock(t, path, wall)
	c.wall = func() time.Time { return wall }
	ceiling := func() uint64 {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := c.Next()
	written := ceiling()
	if want := first + uint64(ClockStep); written != want {
		t.Errorf("ceiling %d, want %d", written, want)
	}
	wall = wall.Add(ClockStep - 1)
	if c.Next(); ceiling() != written {
		t.Error("the file was written before the ceiling was reached")
	}
	wall = wall.Add(1)
	if now := c.Next(); ceiling() <= now {
		t.Errorf("%d was given with the ceiling at %d", now, ceiling())
	}
}

func TestClockWithoutFile(t *testing.T) {
	c := newClock(t, "", time.Unix(1, 0))
	if a, b := c.Next(), c.Next(); a != 1e9 || b != a+1 {
		t.Errorf("got %d and %d", a, b)
	}
	var log bytes.Buffer
	c, err := NewClock(filepath.Join(t.TempDir(), "missing", "clock"), zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := c.Next(), c.Next(); b <= a {
		t.Errorf("%d after %d", b, a)
	}
	if n := bytes.Count(log.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("a file that cannot be written was logged %d times, want once: %s", n, log.Bytes())
	}
}

func TestClockFileRefusals(t *testing.T) {
	for _, content := range []string{"", "x", "-1", "18446744073709551615", "1 2", strings.Repeat("9", 100)} {
		path := filepath.Join(t.TempDir(), "clock")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewClock(path, zerolog.Nop()); !errors.Is(err, ErrClockFile) {
			t.Errorf("%q: %v, want %v", content, err, ErrClockFile)
		}
	}
	if _, err := NewClock(t.TempDir(), zerolog.Nop()); err == nil {
		t.Error("a folder was read as a clock")
	}
}

func TestClockConcurrent(t *testing.T) {
	c := newClock(t, "", time.Unix(1, 0))
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[uint64]bool{}
	for range 4 {
		wg.Go(func() {
			for range 200 {
				now := c.Next()
				mu.Lock()
				if seen[now] {
					t.Errorf("%d was given twice", now)
				}
				seen[now] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestReplayGuard(t *testing.T) {
	a, b, c := cipher.PubKey{1}, cipher.PubKey{2}, cipher.PubKey{3}
	g := NewReplayGuard(2)
	check := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("unknown", g.Admit(a, 5), true)
	check("unknown again: nothing was kept", g.Admit(a, 5), true)
	check("track", g.Track(a, 5), true)
	check("replay", g.Admit(a, 5), false)
	check("older", g.Admit(a, 4), false)
	check("newer", g.Admit(a, 6), true)
	check("replay of the newer", g.Admit(a, 6), false)
	check("tracking again with an older one", g.Track(a, 1), true)
	check("does not go back", g.Admit(a, 6), false)
	check("another peer", g.Admit(b, 1), true)
	check("second entry", g.Track(b, 1), true)
	check("full", g.Track(c, 1), false)
	check("full, but known", g.Track(b, 2), true)
	g.Forget(a)
	check("forgotten", g.Admit(a, 1), true)
	check("room again", g.Track(c, 1), true)
}
