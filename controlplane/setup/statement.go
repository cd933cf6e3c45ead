package setup

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// statementDomain goes in front of what is signed, so that nothing else that a visor
// signs can pass for a statement; pathDomain likewise in front of what is hashed.
const (
	statementDomain = "skywire-route-v1\n"
	pathDomain      = "skywire-path-v1\n"
)

// clockWindow is how far a statement's time may be from the clock of who reads it. Its
// nonce is remembered for twice as long.
const clockWindow = time.Minute

// A statement is what the source of a route signs (docs/routing.md section 3). The
// destination reads it too: of the path it has a hash only, and that is salted, because
// there are so few visors that all short paths could be tried.
type statement struct {
	Source      cipher.PubKey `json:"source"`
	Destination cipher.PubKey `json:"destination"` // Source itself: the route turns at its last step
	Node        cipher.PubKey `json:"node"`
	Class       int64         `json:"class"` // 0..1<<32-1
	Mux         bool          `json:"mux"`
	TTL         int64         `json:"ttl_ms"`
	Time        int64         `json:"time"` // Unix, in milliseconds
	Nonce       nonce         `json:"nonce"`
	Path        hash          `json:"path"`
}

// A hash is a SHA-256 as hex.
type hash [sha256.Size]byte

func (h hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

func (h *hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return errors.New("want 64 hex digits")
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// hashPath returns the hash of pathDomain, the salt and, for each step, its key and the
// number of its link type.
func hashPath(path []neighbour, salt nonce) hash {
	b := append([]byte(pathDomain), salt[:]...)
	for _, s := range path {
		b = append(append(b, s.PK[:]...), byte(s.Type))
	}
	return sha256.Sum256(b)
}

// sign returns s as bytes and the signature of these.
func (s *statement) sign(key *cipher.StaticKey) (blob, cipher.Sig, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, cipher.Sig{}, err
	}
	sig, err := key.Sign(append([]byte(statementDomain), b...))
	return b, sig, err
}

// parseStatement reads a statement without looking at its signature.
func parseStatement(b []byte) (s statement, err error) {
	if _, err := strictjson.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("statement: %w", err)
	}
	switch {
	case s.Class < 0 || s.Class > 1<<32-1:
		err = fmt.Errorf("statement: class %d is not in 0..4294967295", s.Class)
	case s.Source.IsZero() || s.Destination.IsZero() || s.Node.IsZero():
		err = errors.New("statement: source, destination and node must be given")
	case s.Nonce == nonce{} || s.Path == hash{}:
		err = errors.New("statement: nonce and path must be given")
	case s.TTL <= 0:
		err = fmt.Errorf("statement: ttl_ms is %d; want a time above 0", s.TTL)
	}
	return s, err
}

// turns reports whether the route is one that comes back to its source.
func (s *statement) turns() bool { return s.Source == s.Destination }

// verify reports whether sig is the source's signature of b, the bytes of s.
func (s *statement) verify(b []byte, sig cipher.Sig) error {
	return cipher.Verify(s.Source, sig, append([]byte(statementDomain), b...))
}

// fresh reports whether the statement's time is near now.
func (s *statement) fresh(now time.Time) bool {
	age := now.Sub(time.UnixMilli(s.Time))
	return -clockWindow <= age && age <= clockWindow
}

func newNonce() (n nonce) {
	rand.Read(n[:]) // never fails
	return n
}

// clockError says that the source's clock and the one here, which shows now, differ.
func clockError(s *statement, now time.Time) *Error {
	apart := now.Sub(time.UnixMilli(s.Time)).Round(time.Second)
	side := "behind"
	if apart < 0 {
		side, apart = "ahead of", -apart
	}
	e := refuse(CodeClock, "the source's clock is %s %s the one here, which shows %s: one of the two is wrong, set it", apart, side, now.UTC().Format(time.RFC3339))
	e.Time = now
	return e
}
