package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// Config is what a relay is made with. Start from DefaultConfig.
type Config struct {
	Identity      *proto.Identity // the relay's key
	MaxSessions   int             // sessions and handshakes in all
	MaxPerAddress int             // of these from one IPv4 address or IPv6 /64; 0 is no limit
	MaxPerKey     int             // sessions that one key may open in a minute; the newest replaces the one before
	MaxStreams    int             // streams of one session at a time
	// Proxies are the addresses of load balancers, whose connections begin with a
	// PROXY header (versions 1 and 2); nobody else's may.
	Proxies []netip.Prefix
	// DrainTimeout is how long clients have to move when the relay stops.
	DrainTimeout time.Duration
	Log          zerolog.Logger
}

// DefaultConfig returns limits that suit a relay for everybody, without a key.
func DefaultConfig() Config {
	return Config{
		MaxSessions:   16384,
		MaxPerAddress: 64,
		MaxPerKey:     30,
		MaxStreams:    2048,
		DrainTimeout:  10 * time.Second,
		Log:           zerolog.Nop(),
	}
}

// Validate returns everything that is wrong with c, joined.
func (c *Config) Validate() error {
	var errs []error
	if c.Identity == nil {
		errs = append(errs, errors.New("relay: no identity"))
	}
	for _, f := range []struct {
		name      string
		n, lo, hi int
	}{
		{"sessions in all", c.MaxSessions, 1, 1 << 24},
		{"sessions per address", c.MaxPerAddress, 0, 1 << 24},
		{"sessions per key", c.MaxPerKey, 1, 1 << 24},
		{"streams per session", c.MaxStreams, 1, 1 << 20},
	} {
		if f.n < f.lo || f.n > f.hi {
			errs = append(errs, fmt.Errorf("relay: %s is %d; want %d to %d", f.name, f.n, f.lo, f.hi))
		}
	}
	if c.DrainTimeout < 0 {
		errs = append(errs, errors.New("relay: negative drain time-out"))
	}
	return errors.Join(errs...)
}
