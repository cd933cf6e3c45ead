package servicedisc

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// Bounds of a record.
const (
	maxType    = 32 // characters
	maxVersion = 32
	maxIPs     = 16
)

// isType says whether s can be a type: lower-case letters, digits and hyphens.
func isType(s string) bool {
	if s == "" || len(s) > maxType {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// parse checks the body of a registration and returns of it what others may learn.
func parse(body []byte) (*deployment.Service, error) {
	var in deployment.Service
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, deployment.ErrBadRequest.With(`the body is no service; it looks like {"address": "<key>:<port>", "type": "vpn", …}`)
	}
	bad := func(format string, args ...any) (*deployment.Service, error) {
		return nil, deployment.ErrBadRequest.With(fmt.Sprintf(format, args...))
	}
	switch {
	case in.Address.PK.IsZero():
		return bad("the service has no address")
	case !isType(in.Type):
		return bad("the type is %.40q; want up to %d lower-case letters, digits and hyphens", in.Type, maxType)
	case len(in.Version) > maxVersion || !isText(in.Version):
		return bad("the version is not up to %d printable characters", maxVersion)
	case len(in.LocalIPs) > maxIPs:
		return bad("%d local addresses; at most %d are kept", len(in.LocalIPs), maxIPs)
	case in.Version == "" && (in.Type == deployment.ServiceVPN || in.Type == deployment.ServiceSkysocks):
		return nil, deployment.ErrForbidden.With("a " + in.Type + " service must say its version")
	}
	out := &deployment.Service{Address: in.Address, Type: in.Type, DisplayNodeIP: in.DisplayNodeIP, Version: in.Version}
	for _, text := range in.LocalIPs {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return bad("%.60q among the local addresses is no IP address", text)
		}
		if in.DisplayNodeIP { // else they are nobody's business
			out.LocalIPs = append(out.LocalIPs, a.Unmap().WithZone("").String())
		}
	}
	if in.Info != nil && in.Info.Connections > 0 {
		// Latency and uptime are for others to say.
		out.Info = &deployment.ServiceInfo{Connections: min(in.Info.Connections, 1<<20)}
	}
	return out, nil
}

func isText(s string) bool {
	for _, c := range s {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
