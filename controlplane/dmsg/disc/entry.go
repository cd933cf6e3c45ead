package disc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Version is the version that entries state.
const Version = "0.0.1"

// Server types, as a discovery assigns them.
const (
	Official  = "official"
	Community = "community"
)

// ClientVisor is the ClientType of visors.
const ClientVisor = "visor"

// An Entry is what a key publishes about itself. The order of the members is that
// of the bytes that are signed.
//
// An entry from Parse, a directory or Sign is shared and must not be changed:
// change a Clone and sign that. Reading concurrently is fine.
type Entry struct {
	Version    string        `json:"version"`
	Sequence   uint64        `json:"sequence"`  // 0 at first, rises with each change
	Timestamp  int64         `json:"timestamp"` // Unix time in nanoseconds
	Static     cipher.PubKey `json:"static"`    // whose entry this is
	Client     *Client       `json:"client,omitempty"`
	ClientType string        `json:"client_type,omitempty"` // ClientVisor or what others make up
	Server     *Server       `json:"server,omitempty"`
	Signature  string        `json:"signature,omitempty"` // 130 hex digits
	Protocol   string        `json:"protocol,omitempty"`  // newer peers: the multiplexer that is wanted

	raw []byte // the compact JSON that was received or signed; nil for a new entry
}

// Client says by which servers a client can be reached.
type Client struct {
	DelegatedServers []cipher.PubKey `json:"delegated_servers"`
}

// Server says where a server is and what it can take.
type Server struct {
	Address           string `json:"address"`              // host:port, TCP
	AvailableSessions int    `json:"availableSessions"`    // may be negative: overloaded
	ServerType        string `json:"serverType,omitempty"` // assigned by the discovery
	AddressV6         string `json:"address_v6,omitempty"` // newer peers
}

// NewClient returns an unsigned entry for a client, dated now.
func NewClient(pk cipher.PubKey, clientType string, servers []cipher.PubKey, now time.Time) *Entry {
	return &Entry{
		Version: Version, Timestamp: now.UnixNano(), Static: pk,
		Client: &Client{DelegatedServers: servers}, ClientType: clientType,
	}
}

// NewServer returns an unsigned entry for a server, dated now. Its ServerType is
// left to the discovery.
func NewServer(pk cipher.PubKey, address string, available int, now time.Time) *Entry {
	return &Entry{
		Version: Version, Timestamp: now.UnixNano(), Static: pk,
		Server: &Server{Address: address, AvailableSessions: available},
	}
}

// Clone returns an unsigned copy that the caller may change and sign. Members that
// this package does not know are not in it.
func (e *Entry) Clone() *Entry {
	c := *e
	c.raw, c.Signature = nil, ""
	if e.Client != nil {
		c.Client = &Client{DelegatedServers: slices.Clone(e.Client.DelegatedServers)}
	}
	if e.Server != nil {
		s := *e.Server
		c.Server = &s
	}
	return &c
}

// Time returns the time of the entry.
func (e *Entry) Time() time.Time { return time.Unix(0, e.Timestamp) }

// Sign signs the entry as it stands now. It fails if sk is not valid or not the
// secret of Static.
func (e *Entry) Sign(sk cipher.SecKey) error {
	pk, err := sk.PubKey()
	if err != nil {
		return fmt.Errorf("disc: sign: %w", err)
	}
	if pk != e.Static {
		return fmt.Errorf("disc: sign: the entry is for %s, the secret key is that of %s", e.Static, pk)
	}
	e.Signature, e.raw = "", nil
	payload, err := e.encode()
	if err != nil {
		return err
	}
	// Protocol stands behind the signature and is covered all the same.
	sig, err := cipher.Sign(sk, payload)
	if err != nil {
		return fmt.Errorf("disc: sign: %w", err)
	}
	e.Signature = sig.String()
	e.raw, err = e.encode()
	return err
}

// MarshalJSON returns the entry's bytes: those that were received or signed, if
// there are any, so that the signature holds. The slice is the caller's.
func (e *Entry) MarshalJSON() ([]byte, error) {
	if e.raw != nil {
		return bytes.Clone(e.raw), nil
	}
	return e.encode()
}

// Raw returns the bytes that were received or signed, without white space, or nil
// for an unsigned entry. They are shared: read only.
func (e *Entry) Raw() []byte { return e.raw }

// encode writes the entry as deployed software does: compact, in the order of the
// members above, and <, > and & as they are.
func (e *Entry) encode() ([]byte, error) {
	type plain Entry // without methods
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode((*plain)(e)); err != nil {
		return nil, fmt.Errorf("disc: encode entry: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
