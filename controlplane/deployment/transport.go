package deployment

import (
	"crypto/sha256"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A TransportID names a transport: a UUID made of its edges and its type.
type TransportID = graph.TransportID

// NewTransportID returns the id of the transport of type typ between a and b, in
// whichever order: the first 16 bytes of SHA-256 over 16 zero bytes ‖ smaller key ‖
// larger key ‖ typ, version nibble 0, variant bits 10 (as deployed).
func NewTransportID(a, b cipher.PubKey, typ string) (id TransportID) {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	buf := make([]byte, 16, 16+2*cipher.PubKeyLen+len(typ))
	buf = append(append(append(buf, a[:]...), b[:]...), typ...)
	sum := sha256.Sum256(buf)
	copy(id[:], sum[:])
	id[6] &= 0x0f
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Types of transports.
const (
	TypeSTCPR = "stcpr" // TCP, by the address resolver
	TypeSUDPH = "sudph" // UDP, hole punched
	TypeSTCP  = "stcp"  // TCP, addresses of one's own
	TypeDmsg  = "dmsg"  // relayed
)

// Labels of transports: who wanted them.
const (
	LabelUser      = "user"
	LabelAutomatic = "automatic"
	LabelSkycoin   = "skycoin"
)

// A Transport is a link between two visors, as it is registered.
type Transport struct {
	ID    TransportID      `json:"t_id"`
	Edges [2]cipher.PubKey `json:"edges"` // the smaller first
	Type  string           `json:"type"`
	Label string           `json:"label"` // not signed
}

// NewTransport returns the transport of type typ between a and b.
func NewTransport(a, b cipher.PubKey, typ, label string) Transport {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return Transport{ID: NewTransportID(a, b, typ), Edges: [2]cipher.PubKey{a, b}, Type: typ, Label: label}
}

// SignedBytes returns what the edges sign: id(16) ‖ edge(33) ‖ edge(33) ‖ type.
func (t Transport) SignedBytes() []byte {
	b := make([]byte, 0, len(t.ID)+2*cipher.PubKeyLen+len(t.Type))
	b = append(append(append(b, t.ID[:]...), t.Edges[0][:]...), t.Edges[1][:]...)
	return append(b, t.Type...)
}

// A SignedTransport is a transport with its edges' signatures, in the edges' order; an
// absent one is zero.
type SignedTransport struct {
	Transport  `json:"entry"`
	Signatures [2]cipher.Sig   `json:"signatures"`
	Registered int64           `json:"registered,omitempty"` // Unix seconds
	Stats      *TransportStats `json:"stats,omitempty"`
}

// TransportStats are what an edge measured of a transport.
type TransportStats struct {
	ID        TransportID `json:"id"`
	RTTMicros int64       `json:"rtt_us"`
	LossPPM   int64       `json:"loss_ppm"`
	Mbps      float64     `json:"mbps"` // measured delivery, bits; 0: not measured
	SentBytes uint64      `json:"sent_bytes"`
	RecvBytes uint64      `json:"recv_bytes"`
}
