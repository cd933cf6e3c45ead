package ice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/skyminer/skywire/controlplane/stunclient"
)

// Query asks a STUN server from which address the socket's datagrams come. It repeats
// the question until ctx ends.
func (h *Hub) Query(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	h.busy.Add(1)
	defer h.busy.Add(-1)
	for {
		a, err := h.queries.Mapped(ctx, server)
		switch {
		case err == nil && (a.Port() == 0 || !usable(a.Addr(), true)):
			return netip.AddrPort{}, fmt.Errorf("ice: answer of STUN server %s: %v is nobody's address", server, a)
		case err == nil:
			return a, nil
		case ctx.Err() != nil, !errors.Is(err, stunclient.ErrNoAnswer):
			return netip.AddrPort{}, fmt.Errorf("ice: %w", err)
		}
	}
}
