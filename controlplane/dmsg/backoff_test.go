package dmsg

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A listDir counts how often it is asked for relays.
type listDir struct {
	disc.Static
	asked atomic.Int64
}

func (d *listDir) AvailableServers(ctx context.Context) ([]*disc.Entry, error) {
	d.asked.Add(1)
	return d.Static.AvailableServers(ctx)
}

// With every relay down, a client goes on trying and does not become a nuisance, to the
// relays, to the discovery or to its own processor.
func TestAllRelaysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &listDir{}
		const relays = 3
		for range relays {
			dir.Add(server(10, ""))
		}
		var dials atomic.Int64
		cfg := DefaultConfig()
		_, cfg.SecKey = cipher.GenerateKeyPair()
		cfg.Directory = dir
		cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			return nil, errors.New("no way")
		}
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()

		time.Sleep(3 * time.Second)
		if n := dials.Load(); n < 2*relays {
			t.Errorf("%d attempts in the first seconds, want some for each of %d relays", n, relays)
		}
		time.Sleep(time.Minute) // the pauses have grown
		const span = 10 * time.Minute
		dialled, asked := dials.Load(), dir.asked.Load()
		time.Sleep(span)
		dialled, asked = dials.Load()-dialled, dir.asked.Load()-asked
		if least, most := relays*int64(span/(backoffMost*3/2)), relays*int64(span/(backoffMost/2)); dialled < least || dialled > most {
			t.Errorf("%d attempts in %v, want %d to %d", dialled, span, least, most)
		}
		if least, most := int64(span/(listMost*3/2)), int64(span/(listMost/2)); asked < least || asked > most {
			t.Errorf("%d questions to the discovery in %v, want %d to %d", asked, span, least, most)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
