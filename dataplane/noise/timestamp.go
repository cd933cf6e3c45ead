package noise

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/cipher/durable"
)

// ClockStep is how far ahead of the timestamps that it gives a Clock's file is.
const ClockStep = 10 * time.Minute

// ErrClockFile says that a Clock's file holds something else than a number.
var ErrClockFile = errors.New("noise: malformed clock file")

// A Clock gives the timestamps that go into handshakes: wall time in nanoseconds
// since 1970 where that is known, but above all strictly rising, through clocks
// that are set back and through restarts of boards that boot in 1970. Peers refuse
// a handshake that is not newer than the last one.
//
// It keeps a ceiling in a file and gives only what is below; when it reaches the
// ceiling it first writes a higher one. After a crash it goes on from the ceiling,
// which skips up to ClockStep and repeats nothing. A wall clock that was once wrong
// and far ahead leaves the timestamps ahead for good, which hurts nobody. Safe for
// concurrent use.
type Clock struct {
	path string
	wall func() time.Time
	log  zerolog.Logger

	mu      sync.Mutex
	last    uint64
	ceiling uint64
	failing bool // the last write failed
}

// NewClock returns a clock that keeps its ceiling in the file at path, which need
// not exist. With an empty path it rises only as long as the process lives.
// It fails where the file cannot be read, or with [ErrClockFile].
func NewClock(path string, log zerolog.Logger) (*Clock, error) {
	c := &Clock{path: path, wall: time.Now, log: log, ceiling: math.MaxUint64}
	if path == "" {
		return c, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.ceiling = 0
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("noise: read clock: %w", err)
	}
	ceiling, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || ceiling < 0 {
		return nil, fmt.Errorf("%w: %s: remove it if this machine's time is right", ErrClockFile, path)
	}
	c.ceiling, c.last = uint64(ceiling), uint64(ceiling)
	return c, nil
}

// Next returns a timestamp greater than all before it, in nanoseconds. Now and then
// it writes the file, which may take milliseconds. A file that cannot be written
// does not stop it, since that would cut the visor off; the failure is logged once
// and tried again on every call, and until it succeeds a restart may go back.
func (c *Clock) Next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := uint64(max(c.wall().UnixNano(), 0))
	c.last = max(now, c.last+1)
	if c.last >= c.ceiling {
		c.raise(c.last + uint64(ClockStep))
	}
	return c.last
}

func (c *Clock) raise(ceiling uint64) {
	err := durable.WriteFile(c.path, append(strconv.AppendUint(nil, ceiling, 10), '\n'))
	if err == nil {
		c.ceiling = ceiling
	} else if !c.failing {
		c.log.Warn().Err(err).Msg("cannot save handshake clock; after a restart peers may refuse us for a while")
	}
	c.failing = err != nil
}

// A ReplayGuard keeps the greatest timestamp of each peer with a live link, so that
// a recorded handshake cannot disturb it. It knows nothing of other peers: what a
// replay does there, half-open for seconds, is not worth remembering every key that
// ever called. Safe for concurrent use.
type ReplayGuard struct {
	mu      sync.Mutex
	newest  map[cipher.PubKey]uint64
	maxKeys int
}

// NewReplayGuard returns a guard for at most maxKeys peers, about 100 bytes each.
func NewReplayGuard(maxKeys int) *ReplayGuard {
	return &ReplayGuard{newest: make(map[cipher.PubKey]uint64), maxKeys: maxKeys}
}

// Admit reports whether an authentic handshake of pk with timestamp ts is to be
// answered: pk is not tracked, or ts is newer than all before it, and then it is
// remembered.
func (g *ReplayGuard) Admit(pk cipher.PubKey, ts uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest, tracked := g.newest[pk]
	if !tracked {
		return true
	}
	if ts <= newest {
		return false
	}
	g.newest[pk] = ts
	return true
}

// Track begins to remember pk, whose link has come alive through a handshake with
// timestamp ts. It reports false if the table is full: the link must then not live.
func (g *ReplayGuard) Track(pk cipher.PubKey, ts uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest, tracked := g.newest[pk]
	if !tracked && len(g.newest) >= g.maxKeys {
		return false
	}
	g.newest[pk] = max(newest, ts)
	return true
}

// Forget drops pk: its last link is gone.
func (g *ReplayGuard) Forget(pk cipher.PubKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.newest, pk)
}
