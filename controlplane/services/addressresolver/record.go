package addressresolver

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/seat"
)

// Bounds of a bind.
const (
	maxAddresses = 16 // interfaces' addresses; the rest is left out
	maxInstance  = 64 // characters
)

// A reach says what came of dialling back.
type reach uint8

const (
	unknown     reach = iota // not tried: too many at once, or too often
	reachable                //
	unreachable              //
)

// A record is what the store holds of a bound visor, as JSON.
type record struct {
	seat.Seat
	Remote  netip.AddrPort `json:"remote"`          // observed address and the port that the visor named
	Local   []netip.Addr   `json:"local,omitempty"` // private ones of its interfaces
	Reach   reach          `json:"reach"`
	Why     string         `json:"why,omitempty"`
	Checked int64          `json:"checked,omitempty"` // Unix seconds
}

func decodeRecord(_ string, b []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("addressresolver: record: %w", err)
	}
	return &r, nil
}

// parseBind checks the body of a bind and returns the port, the private ones of the
// addresses and the instance.
func parseBind(body []byte) (port uint16, local []netip.Addr, in deployment.Instance, err error) {
	var rq deployment.BindRequest
	if err := json.Unmarshal(body, &rq); err != nil {
		return 0, nil, in, deployment.ErrBadRequest.With(`the body is no {"port": "…", "addresses": ["…"]}`)
	}
	n, err := strconv.ParseUint(rq.Port, 10, 16)
	if err != nil || n == 0 {
		return 0, nil, in, deployment.ErrBadRequest.With(fmt.Sprintf("the port is %.20q; want 1 to 65535", rq.Port))
	}
	if len(rq.Instance) > maxInstance {
		return 0, nil, in, deployment.ErrBadRequest.With("the instance is too long")
	}
	for _, text := range rq.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return 0, nil, in, deployment.ErrBadRequest.With(fmt.Sprintf("%.60q among the addresses is no IP address", text))
		}
		a = a.Unmap().WithZone("")
		// A public address that was not observed is hearsay: it would send others to
		// whomever the caller names. One of a LAN is of use to neighbours only.
		if (a.IsPrivate() || a.Is4() && seat.IsPrivate(a) && a.IsGlobalUnicast()) && len(local) < maxAddresses {
			local = append(local, a)
		}
	}
	return uint16(n), local, deployment.Instance{ID: rq.Instance, Started: rq.Started}, nil
}

// reply returns what a caller at the address from (zero: it came over dmsg) is told
// of r, and false where r is of no use to it.
//
// Private addresses go to who is seen at the same address, thus behind the same NAT,
// and to everybody where the visor itself was seen at a private one: then the whole
// deployment is.
func (r *record) reply(from netip.Addr) (deployment.ResolveReply, bool) {
	out := deployment.ResolveReply{RemoteAddr: r.Remote.String(), Port: strconv.Itoa(int(r.Remote.Port())), Addresses: []string{}}
	near := from == r.Remote.Addr() || seat.IsPrivate(r.Remote.Addr())
	if near {
		for _, a := range r.Local {
			out.Addresses = append(out.Addresses, a.String())
		}
	}
	return out, r.Reach != unreachable || near && len(out.Addresses) > 0
}
