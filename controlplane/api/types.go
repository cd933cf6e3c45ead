// Package api is the visor's management interface: HTTP with JSON bodies. It holds
// what goes over the wire, a Client and the Handler; what the calls do is behind
// the Visor interface.
//
// Locally it is served over a Unix socket whose file mode is the access control.
// Keys are 66 hex digits, times RFC 3339, durations and sizes whole numbers with
// their unit in the name. Lists have a fixed order, so that two answers can be
// compared. Unknown fields of an answer are ignored, those of a request refused.
package api

import (
	"fmt"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Types of links, as they are written in the configuration and on the command line.
const (
	SUDPH = "sudph" // over UDP
	STCPR = "stcpr" // over TCP
	DMSG  = "dmsg"  // through relays of a dmsg network
)

// Status is a visor at a glance.
type Status struct {
	PK        cipher.PubKey `json:"pk"`
	Version   string        `json:"version"`
	Started   time.Time     `json:"started"`
	ListenUDP string        `json:"listen_udp"` // "" where it does not listen
	ListenTCP string        `json:"listen_tcp"`
	Workers   int           `json:"workers"`
	LinksUp   int           `json:"links_up"`
	Links     int           `json:"links"` // wanted or up
	Sessions  int           `json:"sessions"`
	Rules     int           `json:"rules"`
	Forwards  int           `json:"forwards"`
	HeapBytes uint64        `json:"heap_bytes"`
	Dmsg      *Dmsg         `json:"dmsg"` // of the section "dmsg"; null where there is none
	// Deployments are those that the visor is in.
	Deployments  []Membership `json:"deployments"`
	Transports   int          `json:"transports"`
	TransportsUp int          `json:"transports_up"`
	Relay        *OwnRelay    `json:"relay"`      // the dmsg server inside the visor; null where there is none
	SetupNode    bool         `json:"setup_node"` // the visor is one
	// Drops counts packets that went no further, by reason; zero counts are left out.
	Drops map[string]uint64 `json:"drops"`
}

// Membership is how a visor stands with a deployment.
type Membership struct {
	PK         cipher.PubKey `json:"pk"` // of the deployment
	Name       string        `json:"name"`
	Dmsg       Dmsg          `json:"dmsg"`
	Transports int           `json:"transports"` // registered there
	Heartbeat  *time.Time    `json:"heartbeat"`  // the last that was taken; null is none yet
	// Quarantined says why the visor registers nothing: another one has its key.
	Quarantined string   `json:"quarantined"`
	RemoteAddr  string   `json:"remote_addr"` // as the address resolver sees the visor
	Reachable   bool     `json:"reachable"`   // the address resolver could connect to it there
	Listed      bool     `json:"listed"`      // as a public visor
	Errors      []string `json:"errors"`      // what does not work at the moment
}

// OwnRelay is the dmsg server inside a visor.
type OwnRelay struct {
	PK            cipher.PubKey `json:"pk"`
	Listen        string        `json:"listen"`
	PublicAddress string        `json:"public_address"`
	Sessions      int           `json:"sessions"`
	Streams       int           `json:"streams"`
}

// LinkSpec asks for a link to a neighbour, at a known address or by its key alone.
type LinkSpec struct {
	PK   cipher.PubKey `json:"pk"`
	Type string        `json:"type"`           // SUDPH, STCPR or DMSG
	Addr string        `json:"addr,omitempty"` // host:port, the host an IP address or a name; none for DMSG
}

// LinkID names a link among those of a visor.
type LinkID struct {
	PK   cipher.PubKey `json:"pk"`
	Type string        `json:"type,omitempty"` // none is all types
}

// States of a link.
const (
	LinkUp         = "up"
	LinkConnecting = "connecting"
	LinkDown       = "down"
)

// Link is a link, and how it does.
type Link struct {
	PK        cipher.PubKey `json:"pk"`
	Type      string        `json:"type"`
	Addr      string        `json:"addr"` // where the neighbour is now; "" for DMSG
	State     string        `json:"state"`
	Inbound   bool          `json:"inbound"` // the neighbour asked for it
	Since     *time.Time    `json:"since"`   // when it came up; null if it is not
	RTTMicros int64         `json:"rtt_us"`  // 0 is not known
	MTU       int           `json:"mtu"`     // largest route packet in bytes
	SentBytes uint64        `json:"sent_bytes"`
	RecvBytes uint64        `json:"recv_bytes"`
	SentPkts  uint64        `json:"sent_packets"`
	RecvPkts  uint64        `json:"recv_packets"`
	LastError string        `json:"last_error"` // why it is not up, or "" if nothing is known
}

// MaxStaticLabel is the largest label that an operator may choose
// (docs/wire.md section 4.1). The least is 1.
const MaxStaticLabel = 1<<16 - 1

// A Hop is a label on the link to a neighbour.
type Hop struct {
	Link  cipher.PubKey `json:"link"`
	Label uint32        `json:"label"`
}

// String returns "<key>:<label>".
func (h Hop) String() string { return fmt.Sprintf("%s:%d", h.Link, h.Label) }

// A Rule says what becomes of the packets that come in at In, and is named by it.
//
// Without Peer they leave at Out: the visor is a middle one. With Peer they are
// Peer's, and what goes to Peer leaves at Out: the visor is an end of the route.
type Rule struct {
	In   Hop            `json:"in"`
	Out  Hop            `json:"out"`
	Peer *cipher.PubKey `json:"peer,omitempty"`
}

// Kinds of routes.
const (
	RouteForward = "forward" // packets pass this visor
	RouteEnd     = "end"     // they begin and end here
	RouteDirect  = "direct"  // the same, over a link of its own; made by itself
)

// Route is a rule in the table, and how it does.
type Route struct {
	Rule
	Kind    string          `json:"kind"`
	Static  bool            `json:"static"`  // set by an operator
	Waiting []cipher.PubKey `json:"waiting"` // neighbours to whom there is no link; empty when packets can pass
	Packets uint64          `json:"packets"` // that came in at In
	Bytes   uint64          `json:"bytes"`
}

// ForwardSpec asks for port forwarding: either a service of this machine exposed
// on a port of the visor's key, or a port of another key reached from here.
type ForwardSpec struct {
	UDP bool `json:"udp,omitempty"` // else TCP

	Expose string          `json:"expose,omitempty"` // host:port of the service to expose
	Port   uint16          `json:"port,omitempty"`   // on which port of the own key
	Allow  []cipher.PubKey `json:"allow,omitempty"`  // who may connect; or
	Public bool            `json:"public,omitempty"` // everybody may

	Reach string `json:"reach,omitempty"` // <pk>:<port> to reach
	Local string `json:"local,omitempty"` // IP:port to listen on

	Route *RoutePolicy `json:"route,omitempty"` // which way to what is reached; null is the visor's own policy
}

// ID names a forward by what it occupies: the port of the own key ("tcp:80") or
// the local address ("udp:127.0.0.1:53").
func (s ForwardSpec) ID() string {
	proto := "tcp"
	if s.UDP {
		proto = "udp"
	}
	if s.Expose != "" {
		return fmt.Sprintf("%s:%d", proto, s.Port)
	}
	return proto + ":" + s.Local
}

// Forward is a port forwarding, and how it does.
type Forward struct {
	ForwardSpec
	ID          string     `json:"id"`
	Open        int        `json:"open"`        // connections, or UDP clients, now
	Connections uint64     `json:"connections"` // that there were, open ones included
	Refused     uint64     `json:"refused"`     // not allowed, or over the limit
	Failed      uint64     `json:"failed"`      // the other side could not be reached
	RecvBytes   uint64     `json:"recv_bytes"`  // that came from the overlay
	SentBytes   uint64     `json:"sent_bytes"`  // that went into it
	LastError   string     `json:"last_error"`
	LastErrorAt *time.Time `json:"last_error_at"`
}

// PingSpec asks for one round trip to a visor over the overlay.
type PingSpec struct {
	PK            cipher.PubKey `json:"pk"`
	TimeoutMillis int64         `json:"timeout_ms"` // 0 is 10 s; at most 60 s
}

// Pong is the answer to a ping.
type Pong struct {
	RTTMicros int64 `json:"rtt_us"`
}

// Change is the body of a call that adds something.
type Change[T any] struct {
	Item T    `json:"item"`
	Save bool `json:"save"` // also write it into the configuration file
}
