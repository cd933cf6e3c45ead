package services

import (
	"context"
	"net"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A withRelay is a directory that knows one relay by itself, at an address of this
// machine: so the services are on dmsg before that relay has registered, and where
// its public address does not lead back here.
type withRelay struct {
	disc.Directory
	relay *disc.Entry
}

// ownRelayFirst returns d with the deployment's own relay in it.
func (w *whole) ownRelayFirst(d disc.Directory) disc.Directory {
	if w.relay == nil {
		return d
	}
	addr := w.relay.Addr().String()
	if t, ok := w.relay.Addr().(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		addr = net.JoinHostPort("127.0.0.1", port(t))
	}
	return withRelay{d, disc.NewServer(w.relayPK, addr, 1<<20, time.Unix(0, 0))}
}

// Entry implements disc.Directory.
func (d withRelay) Entry(ctx context.Context, pk cipher.PubKey) (*disc.Entry, error) {
	if pk == d.relay.Static {
		return d.relay, nil
	}
	return d.Directory.Entry(ctx, pk)
}

// AvailableServers implements disc.Directory.
func (d withRelay) AvailableServers(ctx context.Context) ([]*disc.Entry, error) {
	list, err := d.Directory.AvailableServers(ctx)
	return d.first(list, err), nil
}

// AllServers implements disc.Directory.
func (d withRelay) AllServers(ctx context.Context) ([]*disc.Entry, error) {
	list, err := d.Directory.AllServers(ctx)
	return d.first(list, err), nil
}

// first returns the own relay and those of list that are others.
func (d withRelay) first(list []*disc.Entry, err error) []*disc.Entry {
	out := []*disc.Entry{d.relay}
	if err != nil {
		return out
	}
	for _, e := range list {
		if e.Static != d.relay.Static {
			out = append(out, e)
		}
	}
	return out
}
