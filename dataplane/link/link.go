package link

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A Type says what carries a link. Its number is bound into the handshake.
type Type uint8

// Link types, docs/wire.md section 2.2.
const (
	STCPR Type = 1 // TCP
	SUDPH Type = 2 // UDP
	DMSG  Type = 3 // a dmsg stream
)

var typeNames = map[Type]string{STCPR: "stcpr", SUDPH: "sudph", DMSG: "dmsg"}

// String returns the name that users see.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType is the inverse of String.
func ParseType(s string) (Type, error) {
	for t, name := range typeNames {
		if name == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("link: unknown link type %q: use sudph or stcpr", s)
}

// MarshalText and UnmarshalText give the type its name in JSON.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText accepts what MarshalText made.
func (t *Type) UnmarshalText(b []byte) (err error) {
	*t, err = ParseType(string(b))
	return err
}

// Errors that callers branch on.
var (
	ErrDown     = errors.New("link: not up")
	ErrLost     = errors.New("link: connection lost") // what a link over a stream runs over has ended, unsaid
	ErrTooBig   = errors.New("link: packet larger than the link's MTU")
	ErrExists   = errors.New("link: a link of this type to this visor exists")
	ErrNotFound = errors.New("link: no such link")
	ErrSelf     = errors.New("link: a visor cannot be its own neighbour")
)

// A Link is the way to one neighbour over one carrier. The object lives from the
// first attempt to connect until it is removed, through any number of
// connections; Up says whether it can carry packets now.
//
// All methods are safe for concurrent use.
type Link struct {
	e        *Engine
	id       uint32
	peer     cipher.PubKey
	typ      Type
	outbound atomic.Bool // we connect; otherwise the link goes when it dies
	directIn packet.Label
	place    netip.Prefix // where it came from, for limits; not valid on links that we opened

	// What senders read, packet by packet or batch by batch.
	send      atomic.Pointer[sendState] // nil while down
	mtu       atomic.Int32
	directOut atomic.Uint32

	// What workers and timers note. Times are on the engine's clock in ns.
	lastRecv, lastSend atomic.Int64
	rtt                atomic.Int64
	rxPackets, rxBytes atomic.Uint64
	txPackets, txBytes atomic.Uint64
	txDrops            atomic.Uint64
	rxExpected         atomic.Uint64 // frames that the neighbour must have sent, by their counters
	erred              atomic.Int64  // when the last route error left, 0: none has
	closing            atomic.Bool   // the peer has said goodbye, and the event is queued

	keys *noise.Ring[*rxKey]

	mu    sync.Mutex // guards the rest: connection state, off the packet path
	state connState
}

// sendState is all that sending one batch needs. It is replaced whole, on a new
// key and on a new address, and never edited.
type sendState struct {
	epoch *epoch
	addr  netip.AddrPort
	until int64 // on the engine's clock: nothing is sealed from then on
	// path is nil once the peer has proved to be at addr.
	path   *pathCheck
	stream *stream // stream links only
}

// Peer returns the neighbour's key.
func (l *Link) Peer() cipher.PubKey { return l.peer }

// Type returns what carries the link.
func (l *Link) Type() Type { return l.typ }

// ID returns a number that no other link of this process has.
func (l *Link) ID() uint32 { return l.id }

// Up reports whether the link can carry packets now.
func (l *Link) Up() bool { return l.send.Load() != nil }

// MTU returns the size in bytes of the largest route packet that the link carries
// now, a multiple of packet.RouteAlign. It changes as the path is probed.
func (l *Link) MTU() int { return int(l.mtu.Load()) }

// DirectLabel returns the label that the neighbour gave for direct packets, or 0
// before the link has been up.
func (l *Link) DirectLabel() packet.Label { return packet.Label(l.directOut.Load()) }

// DirectIn returns the label that the handler gave out for direct packets from
// this neighbour.
func (l *Link) DirectIn() packet.Label { return l.directIn }

// RTT returns the smoothed round-trip time of link probes, or 0 before the first.
func (l *Link) RTT() time.Duration { return time.Duration(l.rtt.Load()) }

// LastRecv returns when the last authentic packet came, on the engine's clock.
func (l *Link) LastRecv() int64 { return l.lastRecv.Load() }

// String names the link for logs.
func (l *Link) String() string {
	return fmt.Sprintf("%s link to %s", l.typ, l.peer)
}

// Info is a snapshot of a link for people and for metrics.
type Info struct {
	ID       uint32
	Peer     cipher.PubKey
	Type     Type
	Outbound bool // this visor connects; false: the neighbour came to us
	Up       bool
	Addr     string        // the neighbour's underlay address, if known
	Since    time.Duration // how long it has been up
	Idle     time.Duration // since something authentic came
	RTT      time.Duration
	MTU      int // bytes of the largest route packet

	RxPackets, RxBytes uint64 // route packets and their bytes
	TxPackets, TxBytes uint64
	TxDrops            uint64

	// How well it carries what the neighbour sends. Streams lose nothing.
	LossPPM int64   // of its frames, smoothed
	Mbps    float64 // the best of a second lately: what the link is known to carry

	LastError string // why it is down, or why the last attempt failed
}
