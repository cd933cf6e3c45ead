package transport

import (
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// States of a transport.
const (
	StateUp         = "up"
	StateConnecting = "connecting" // down, and tried again and again
	StateDown       = "down"       // down, and nobody tries
)

// Labels of transports that the Manager sets up.
const (
	LabelUser      = "user"
	LabelAutomatic = "automatic"
)

// Options of [Manager.Add].
type Options struct {
	Label      string // LabelUser where empty
	Persistent bool   // set up again whenever it is lost, until Remove
	Addr       string // STCPR only: host:port to connect to; "" looks it up
}

// An Info describes a transport.
type Info struct {
	ID          deployment.TransportID
	PK          cipher.PubKey
	Type        string // stcpr, sudph or dmsg
	Label       string
	State       string
	Addr        string          // the neighbour's underlay address, where known
	Inbound     bool            // the neighbour connected
	Deployments []cipher.PubKey // of which both ends are members, as far as is known
	Registered  bool            // in every one of them, signed by both
	Why         string          // where it is not registered: why
	RTT         time.Duration
	LossPPM     int64   // lost packets in a million
	Mbps        float64 // measured delivery
	SentBytes   uint64
	RecvBytes   uint64
	Since       time.Time // when it came up; zero while it is down
	LastError   string
	Persistent  bool
	Auto        bool
}

// A MemberInfo is how the visor stands with a deployment.
type MemberInfo struct {
	ID          cipher.PubKey
	Name        string
	Transports  int       // registered
	Heartbeat   time.Time // the last one that was taken
	Quarantined string    // not registered anywhere, because another visor has the same key: which
	TPDError    string    // of the last attempt
	Bound       deployment.Bound
	ARError     string
	SDError     string
	Listed      bool // as a public visor
}
