package setup

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Paths of the requests, docs/routing.md section 4. All are POST but for pathHealth.
const (
	pathRoute   = "/v1/route"
	pathReserve = "/v1/reserve"
	pathInstall = "/v1/install"
	pathAccept  = "/v1/accept"
	pathRelease = "/v1/release"
	pathHello   = "/v1/hello"
	pathHealth  = "/v1/health"
)

// maxBody bounds bodies in either direction: a path of sixteen steps takes 2 KiB.
const maxBody = 16 << 10

// A label is a packet.Label as eight hex digits, so that requests are of one size
// whatever it is.
type label packet.Label

func (l label) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(l)), nil }

func (l *label) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 32)
	if err != nil || len(b) != 8 || n == 0 {
		return errors.New("not a label: eight hex digits, not all 0")
	}
	*l = label(n)
	return nil
}

// A linkType is a link.Type of which "" is any.
type linkType link.Type

func (t linkType) MarshalText() ([]byte, error) {
	if t == 0 {
		return nil, nil
	}
	return link.Type(t).MarshalText()
}

func (t *linkType) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = 0
		return nil
	}
	return (*link.Type)(t).UnmarshalText(b)
}

// A blob is bytes as base64 (RFC 4648, section 4).
type blob []byte

func (b blob) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, b), nil }

func (b *blob) UnmarshalText(text []byte) (err error) {
	*b, err = base64.StdEncoding.Strict().AppendDecode(nil, text)
	return err
}

// A nonce is random bytes as hex.
type nonce [16]byte

func (n nonce) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, n[:]), nil }

func (n *nonce) UnmarshalText(b []byte) error {
	if len(b) != 2*len(n) {
		return errors.New("want 32 hex digits")
	}
	_, err := hex.Decode(n[:], b)
	return err
}

// A neighbour is forward.Neighbour, and a Step, on the wire.
type neighbour struct {
	PK   cipher.PubKey `json:"pk"`
	Type linkType      `json:"type"`
}

func toWire(n forward.Neighbour) neighbour { return neighbour{n.Peer, linkType(n.Type)} }

func (n neighbour) forward() forward.Neighbour {
	return forward.Neighbour{Peer: n.PK, Type: link.Type(n.Type)}
}

// routeRequest goes from the source to the setup node.
type routeRequest struct {
	Signed    blob        `json:"signed"` // a statement, in the very bytes that are signed
	Signature cipher.Sig  `json:"signature"`
	Path      []neighbour `json:"path"` // from the first neighbour to the last visor
	Salt      nonce       `json:"salt"` // of the hash of Path
	InLabel   label       `json:"in_label"`
}

// routeReply is the answer: the label that the first neighbour gave out.
type routeReply struct {
	OutLabel label `json:"out_label"`
}

// reserveRequest goes from the setup node to each visor on the path.
type reserveRequest struct {
	From []neighbour `json:"from"` // one label for packets from each
}

type reserveReply struct {
	Labels []label `json:"labels"`
}

// installRequest goes to each visor in the middle, and to the one where a route turns.
type installRequest struct {
	TTL   int64  `json:"ttl_ms"`
	Rules []rule `json:"rules"`
}

type rule struct {
	In       neighbour `json:"in"`
	InLabel  label     `json:"in_label"`
	Out      neighbour `json:"out"`
	OutLabel label     `json:"out_label"`
}

// acceptRequest goes to the destination.
type acceptRequest struct {
	Signed    blob       `json:"signed"`
	Signature cipher.Sig `json:"signature"`
	Neighbour neighbour  `json:"neighbour"` // the last one
	InLabel   label      `json:"in_label"`
	OutLabel  label      `json:"out_label"`
}

// releaseRequest takes back what the same setup node has reserved or installed.
type releaseRequest struct {
	Labels []label `json:"labels"`
}

// none is the answer to requests that need none.
type none struct{}

func millis(d time.Duration) int64 { return d.Milliseconds() }

// ttl reads a time to live, which has to be positive, and caps it.
func ttl(ms int64, most time.Duration) (time.Duration, error) {
	if ms <= 0 {
		return 0, fmt.Errorf("ttl_ms is %d; want a time above 0", ms)
	}
	if ms > most.Milliseconds() {
		return most, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}
