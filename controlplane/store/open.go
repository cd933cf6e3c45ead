package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Options are what a store takes besides its URL. The zero value is not valid: begin
// with DefaultOptions.
type Options struct {
	// Now is the clock of the embedded store; Redis goes by its server's clock.
	Now func() time.Time
	// Timeout bounds each call and the time for a connection to Redis. On the
	// embedded store it bounds the wait for the lock of the file.
	Timeout time.Duration
	// Sweep is how often the remains of what has expired are cleared away, a bounded
	// number at a time. Readers never see them.
	Sweep time.Duration
	Log   zerolog.Logger
}

// DefaultOptions returns what suits a service.
func DefaultOptions() Options {
	return Options{Now: time.Now, Timeout: 2 * time.Second, Sweep: 10 * time.Second, Log: zerolog.Nop()}
}

// Validate reports every fault of o.
func (o Options) Validate() error {
	var errs []error
	if o.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout %v is not positive", o.Timeout))
	}
	if o.Sweep <= 0 {
		errs = append(errs, fmt.Errorf("sweep interval %v is not positive", o.Sweep))
	}
	if len(errs) > 0 {
		return fmt.Errorf("store: options: %w", errors.Join(errs...))
	}
	return nil
}

// Open opens the store at url:
//
//	bolt:///var/lib/skywire/dmsg.db              a file (bolt://x.db: in the working directory)
//	redis://[user:password@]host[:6379][/db]     one Redis server; rediss:// with TLS
//	redis+sentinel://[user:password@]host[:26379],host…/master[/db]
//	redis+cluster://[user:password@]host[:6379],host…
//
// With TLS the last two are rediss+sentinel and rediss+cluster. A query ?prefix=x:
// sets what stands before every key in Redis (skywire:); Sentinels that ask for a
// password of their own get it with ?sentinel_user=…&sentinel_password=….
//
// A file is made with mode 0600 and belongs to one process at a time. Redis, 6 or
// newer, must be set up to keep what it has acknowledged: appendonly yes, appendfsync
// always (with everysec a crash can lose two seconds), maxmemory-policy noeviction,
// and for Sentinel and Cluster min-replicas-to-write 1, which narrows what a failover
// can lose to what was under way. Settings that lose more are logged as warnings.
//
// It fails with ErrInvalid for a url it does not understand and with ErrUnavailable
// where nobody answers. No error shows the password.
func Open(ctx context.Context, url string, o Options) (Store, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return nil, fmt.Errorf("%w: the address of a store looks like bolt:///path/file.db or redis://host:6379", ErrInvalid)
	}
	if scheme == "bolt" {
		b, err := OpenBolt(ctx, rest, o)
		if err != nil {
			return nil, err // not a Store that holds a nil
		}
		return b, nil
	}
	c, err := parseRedis(scheme, rest)
	if err != nil {
		return nil, err
	}
	r, err := openRedis(ctx, c, o)
	if err != nil {
		return nil, err
	}
	return r, nil
}
