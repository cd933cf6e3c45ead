package deployment

import (
	"context"
	"errors"
	"net/http"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Limits of one request to a transport discovery, so that its body stays below the
// services' 64 KiB. The client splits what is more.
const (
	MaxRegister  = 64  // entries, some 600 bytes each
	MaxHeartbeat = 256 // stats, some 200 bytes each
)

// RegisterRequest is the body of POST /transports/. (A bare array of entries is what
// deployed visors send; it gets an array back.)
type RegisterRequest struct {
	Instance
	Entries []SignedTransport `json:"entries"`
}

// RegisterReply says what became of a registration.
type RegisterReply struct {
	// TTL is for how many seconds it holds without a heartbeat.
	TTL int `json:"ttl"`
	// Listed are those that others can see now: both edges' signatures are there, and
	// both edges have been heard of.
	Listed []TransportID `json:"listed"`
	// Refused are those that were not taken, with the reason.
	Refused []Refusal `json:"refused,omitempty"`
}

// A Refusal says why one transport of several was not taken.
type Refusal struct {
	ID   TransportID `json:"id"`
	Code Code        `json:"code"`
	Text string      `json:"error"`
}

// HeartbeatRequest is the body of POST /transports/heartbeat.
type HeartbeatRequest struct {
	Instance
	Stats []TransportStats `json:"stats"`
}

// HeartbeatReply is the answer to a HeartbeatRequest.
type HeartbeatReply struct {
	TTL     int           `json:"ttl"`     // seconds
	Unknown []TransportID `json:"unknown"` // those of the stats that must be registered again
}

// A TransportDiscovery is the client of one. It may be used concurrently.
type TransportDiscovery struct {
	url string
	c   *Caller
}

// NewTransportDiscovery returns a client for the service at url.
func NewTransportDiscovery(url string, c *Caller) *TransportDiscovery {
	return &TransportDiscovery{url, c}
}

// Register registers transports of which the caller is an edge, each with the
// caller's signature at least.
func (t *TransportDiscovery) Register(ctx context.Context, in Instance, entries []SignedTransport) (RegisterReply, error) {
	var all RegisterReply
	for len(entries) > 0 {
		part := entries[:min(len(entries), MaxRegister)]
		entries = entries[len(part):]
		var r RegisterReply
		err := t.c.doAs(ctx, http.MethodPost, t.url, in, func(self Instance) (string, any) { return "/transports/", RegisterRequest{self, part} }, &r)
		if err != nil {
			return all, err
		}
		all.TTL = r.TTL
		all.Listed = append(all.Listed, r.Listed...)
		all.Refused = append(all.Refused, r.Refused...)
	}
	return all, nil
}

// Heartbeat refreshes all that the caller has registered and reports stats, one for
// each transport that is up; it returns those of them that must be registered again.
func (t *TransportDiscovery) Heartbeat(ctx context.Context, in Instance, stats []TransportStats) (unknown []TransportID, err error) {
	for {
		part := stats[:min(len(stats), MaxHeartbeat)]
		stats = stats[len(part):]
		var r HeartbeatReply
		err := t.c.doAs(ctx, http.MethodPost, t.url, in, func(self Instance) (string, any) { return "/transports/heartbeat", HeartbeatRequest{self, part} }, &r)
		if err != nil {
			return unknown, err
		}
		unknown = append(unknown, r.Unknown...)
		if len(stats) == 0 {
			return unknown, nil
		}
	}
}

// Delete removes a transport of which the caller is an edge.
func (t *TransportDiscovery) Delete(ctx context.Context, id TransportID) error {
	return t.c.Do(ctx, http.MethodDelete, t.url, "/transports/id:"+id.String(), nil, nil)
}

// Transport returns a listed transport, or ErrNotFound.
func (t *TransportDiscovery) Transport(ctx context.Context, id TransportID) (SignedTransport, error) {
	var st SignedTransport
	err := t.c.Ask(ctx, t.url, "/transports/id:"+id.String(), &st)
	return st, err
}

// Edge returns the listed transports of pk; none is no error.
func (t *TransportDiscovery) Edge(ctx context.Context, pk cipher.PubKey) ([]SignedTransport, error) {
	l := list[SignedTransport]{least: leastTransport}
	err := t.c.Ask(ctx, t.url, "/transports/edge:"+pk.String(), &l)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return l.all, err
}

// All returns all listed transports and the tag of that answer. With the tag of an
// earlier answer as since, a list that has not changed comes back as nil with that
// tag.
func (t *TransportDiscovery) All(ctx context.Context, since string) (all []SignedTransport, tag string, err error) {
	tag = since
	same := false
	l := list[SignedTransport]{least: leastTransport}
	err = t.c.do(ctx, request{method: http.MethodGet, base: t.url, path: "/all-transports", out: &l, limit: maxList, tag: &tag, notModified: &same})
	if err != nil {
		return nil, since, err
	}
	if !same && l.all == nil {
		l.all = []SignedTransport{}
	}
	return l.all, tag, nil
}
