package httpauth

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Hosts are the names of a service: a request is signed for one, so that it is worth
// nothing at any other.
type hosts struct {
	names map[string]bool // "name" or "name:port", in lower case
	key   cipher.PubKey
}

func newHosts(names []string, key cipher.PubKey) hosts {
	h := hosts{names: make(map[string]bool), key: key}
	for _, n := range names {
		h.names[strings.ToLower(n)] = true
	}
	return h
}

// check says whether the Host header of a request that arrived at local is a name of
// the service. Names of HTTP mean nothing over dmsg, and the reverse.
func (h hosts) check(host string, local net.Addr, dmsg bool) error {
	name, port := split(strings.ToLower(host))
	if dmsg {
		if pk, err := cipher.ParsePubKeyText(name); err == nil && pk == h.key && !h.key.IsZero() {
			return nil
		}
	} else if h.names[net.JoinHostPort(name, port)] || h.names[name+":"+port] {
		return nil
	} else if tcp, ok := local.(*net.TCPAddr); ok {
		here := tcp.AddrPort()
		own := port == strconv.Itoa(int(here.Port()))
		if h.names[name] && (own || port == "" || port == "80" || port == "443") {
			return nil
		}
		addr := here.Addr().Unmap().WithZone("")
		if ip, err := netip.ParseAddr(name); err == nil && ip.Unmap().WithZone("") == addr && (own || port == "" && here.Port() == 80) {
			return nil
		}
		if name == "localhost" && addr.IsLoopback() && own {
			return nil
		}
	}
	return deployment.ErrUnauthorized.With("the request is for \"" + clip(host) + "\", which is no name of this service; its operator can add one (--public-host)")
}

// split parts a Host header; without a port, port is "".
func split(host string) (name, port string) {
	if n, p, err := net.SplitHostPort(host); err == nil {
		return n, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ""
}

// clip keeps what strangers say short.
func clip(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
