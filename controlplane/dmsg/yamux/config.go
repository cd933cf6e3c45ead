package yamux

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Config is what a session is made with. The zero value of a field stands for
// the default that its comment names.
type Config struct {
	Client        bool          // true: our streams have odd ids; the ends of a session must differ
	KeepAlive     time.Duration // between pings: 30 s; negative: none
	WriteTimeout  time.Duration // a peer that takes nothing, or answers a keep-alive with silence, for that long ends the session: 10 s
	OpenTimeout   time.Duration // an opened stream that the peer has not acknowledged by then is reset: 75 s
	CloseTimeout  time.Duration // a closed stream whose peer has not closed its side by then is reset: 30 s
	AcceptBacklog int           // streams that wait for Accept, and streams of ours that wait for the peer's: 256
	MaxStreams    int           // streams at once, both kinds; the peer's beyond it are reset, Open fails: 4096
	MaxWindow     int           // bytes of credit the window of a stream grows to while Budget lasts: 64 MiB; at most InitialWindow: never grows
	Budget        *Budget       // shared by all sessions of a process; nil: windows stay at InitialWindow
	Log           zerolog.Logger
}

const (
	defaultKeepAlive     = 30 * time.Second
	defaultWriteTimeout  = 10 * time.Second
	defaultOpenTimeout   = 75 * time.Second
	defaultCloseTimeout  = 30 * time.Second
	defaultAcceptBacklog = 256
	defaultMaxStreams    = 4096
	defaultMaxWindow     = 64 << 20
	maxMaxWindow         = 1 << 30 // credit is a u32; this leaves room for what is under way
)

// withDefaults fills what is zero.
func (c Config) withDefaults() Config {
	setDefault(&c.KeepAlive, defaultKeepAlive)
	setDefault(&c.WriteTimeout, defaultWriteTimeout)
	setDefault(&c.OpenTimeout, defaultOpenTimeout)
	setDefault(&c.CloseTimeout, defaultCloseTimeout)
	setDefault(&c.AcceptBacklog, defaultAcceptBacklog)
	setDefault(&c.MaxStreams, defaultMaxStreams)
	setDefault(&c.MaxWindow, defaultMaxWindow)
	return c
}

func setDefault[T comparable](v *T, def T) {
	if zero := *new(T); *v == zero {
		*v = def
	}
}

// Validate says everything that is wrong with c at once.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		bad  bool
	}{
		{"write time-out", c.WriteTimeout < 0},
		{"open time-out", c.OpenTimeout < 0},
		{"close time-out", c.CloseTimeout < 0},
		{"accept backlog", c.AcceptBacklog < 0},
		{"limit of streams", c.MaxStreams < 0},
		{"widest window", c.MaxWindow < 0 || c.MaxWindow > maxMaxWindow},
	} {
		if f.bad {
			errs = append(errs, errors.New("yamux: "+f.name+" out of range"))
		}
	}
	return errors.Join(errs...)
}

// A Budget is the credit that the streams of a process may grant beyond their
// initial windows, all together. Its methods are safe for concurrent use.
type Budget struct {
	total int64
	left  atomic.Int64
}

// NewBudget returns a budget of that many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{total: max(bytes, 0)}
	b.left.Store(b.total)
	return b
}

// Left returns the bytes that nobody has taken.
func (b *Budget) Left() int64 {
	if b == nil {
		return 0
	}
	return b.left.Load()
}

// take takes up to n bytes, but never more than half of what is left, so that
// no stream can take it all from those that come later.
func (b *Budget) take(n int64) int64 {
	if b == nil {
		return 0
	}
	for {
		left := b.left.Load()
		n = min(n, left/2)
		if n <= 0 {
			return 0
		}
		if b.left.CompareAndSwap(left, left-n) {
			return n
		}
	}
}

// scarce reports whether so little is left that those who have much should give some
// back.
func (b *Budget) scarce() bool { return b != nil && b.left.Load() < b.total/8 }

// give returns n bytes taken before.
func (b *Budget) give(n int64) {
	if b != nil && n > 0 {
		b.left.Add(n)
	}
}
