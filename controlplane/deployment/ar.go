package deployment

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Bind says where a visor listens for STCPR.
type Bind struct {
	Port      uint16
	Addresses []string // IP addresses of its interfaces
}

// BindRequest is the body of POST /bind/stcpr. Deployed visors send no Instance.
type BindRequest struct {
	Port      string   `json:"port"` // decimal, as deployed
	Addresses []string `json:"addresses"`
	Instance  string   `json:"instance,omitempty"`
	Started   int64    `json:"started,omitempty"`
}

// Bound is the answer to a bind.
type Bound struct {
	RemoteAddr netip.AddrPort `json:"remote_addr"` // as the service sees it
	Reachable  bool           `json:"reachable"`   // the service could dial it
	Why        string         `json:"why,omitempty"`
	TTL        int            `json:"ttl"` // seconds; bind again well before
}

// A Record is where a visor can be dialled.
type Record struct {
	RemoteAddr netip.AddrPort
	// Addresses are those of its interfaces, for who is in the same network.
	Addresses []netip.AddrPort
}

// ResolveReply is a Record on the wire.
type ResolveReply struct {
	RemoteAddr string   `json:"remote_addr"` // ip or ip:port
	Port       string   `json:"port"`
	Addresses  []string `json:"addresses"` // IP addresses
}

// Record reads the wire form; addresses that are none are left out.
func (r ResolveReply) Record() (Record, error) {
	port, err := strconv.ParseUint(r.Port, 10, 16)
	remote, errAP := netip.ParseAddrPort(r.RemoteAddr)
	if errAP != nil {
		ip, errIP := netip.ParseAddr(r.RemoteAddr)
		if errIP != nil || err != nil {
			return Record{}, fmt.Errorf("%w: the address %.60q, port %.10q", ErrAnswer, r.RemoteAddr, r.Port)
		}
		remote = netip.AddrPortFrom(ip, uint16(port))
	}
	if err != nil {
		port = uint64(remote.Port())
	}
	if port == 0 || remote.Port() == 0 {
		return Record{}, fmt.Errorf("%w: the address %.60q has no port", ErrAnswer, r.RemoteAddr)
	}
	rec := Record{RemoteAddr: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())}
	for _, text := range r.Addresses {
		if ap, err := netip.ParseAddrPort(text); err == nil {
			rec.Addresses = append(rec.Addresses, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
		} else if ip, err := netip.ParseAddr(text); err == nil {
			rec.Addresses = append(rec.Addresses, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		}
	}
	return rec, nil
}

// BoundKeys lists the keys that an address resolver knows, by type.
type BoundKeys struct {
	STCPR []cipher.PubKey `json:"stcpr"`
	SUDPH []cipher.PubKey `json:"sudph"`
}

// An AddressResolver is the client of one. It may be used concurrently.
type AddressResolver struct {
	url string
	c   *Caller
}

// NewAddressResolver returns a client for the service at url.
func NewAddressResolver(url string, c *Caller) *AddressResolver { return &AddressResolver{url, c} }

// Bind says where the caller listens.
func (a *AddressResolver) Bind(ctx context.Context, in Instance, b Bind) (Bound, error) {
	if b.Addresses == nil {
		b.Addresses = []string{}
	}
	var bound Bound
	err := a.c.doAs(ctx, http.MethodPost, a.url, in, func(self Instance) (string, any) {
		return "/bind/stcpr", BindRequest{Port: strconv.Itoa(int(b.Port)), Addresses: b.Addresses, Instance: self.ID, Started: self.Started}
	}, &bound)
	return bound, err
}

// Unbind takes the caller's record back.
func (a *AddressResolver) Unbind(ctx context.Context) error {
	return a.c.Do(ctx, http.MethodDelete, a.url, "/bind/stcpr", struct{}{}, nil)
}

// Resolve returns where pk listens, or ErrNotFound.
func (a *AddressResolver) Resolve(ctx context.Context, pk cipher.PubKey) (Record, error) {
	var reply ResolveReply
	if err := a.c.Do(ctx, http.MethodGet, a.url, "/resolve/"+TypeSTCPR+"/"+pk.String(), nil, &reply); err != nil {
		return Record{}, err
	}
	rec, err := reply.Record()
	if err != nil {
		return Record{}, fmt.Errorf("deployment: resolve %s: %w", pk.Short(), err)
	}
	return rec, nil
}

// Transports lists who can be resolved.
func (a *AddressResolver) Transports(ctx context.Context) (BoundKeys, error) {
	var keys BoundKeys
	err := a.c.do(ctx, request{method: http.MethodGet, base: a.url, path: "/transports", out: &keys, limit: maxList})
	return keys, err
}
