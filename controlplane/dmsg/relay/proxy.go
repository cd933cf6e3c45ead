package relay

import (
	"net"
	"time"

	"github.com/skyminer/skywire/controlplane/proxyproto"
)

// readProxyHeader reads a PROXY header, and not a byte more, and returns the place
// of the client. The zero place means that the load balancer speaks for itself.
func readProxyHeader(conn net.Conn, timeout time.Duration) (place, error) {
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return place{}, err
	}
	from, err := proxyproto.Read(conn)
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil || !from.IsValid() {
		return place{}, err
	}
	return placeOfIP(from.Addr()), nil
}
