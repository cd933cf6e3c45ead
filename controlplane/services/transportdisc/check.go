package transportdisc

import (
	"fmt"
	"slices"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// maxWord is the longest name of a type or label.
const maxWord = 16

// isWord says whether s is a name of a type or label: so plain that nobody need quote
// it.
func isWord(s string) bool {
	if s == "" || len(s) > maxWord {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// side returns which edge of t pk is: 0, 1 or -1.
func side(t *deployment.Transport, pk cipher.PubKey) int { return slices.Index(t.Edges[:], pk) }

// check says what is wrong with an entry that pk brings. Signatures are not looked
// at, but for the caller's being there.
func check(e *deployment.SignedTransport, pk cipher.PubKey) *deployment.Error {
	bad := deployment.ErrBadRequest
	own := side(&e.Transport, pk)
	switch {
	case own < 0:
		return deployment.ErrForbidden.With("you are no edge of this transport")
	case e.Edges[0].Compare(e.Edges[1]) >= 0:
		return bad.With("the edges are not two keys in ascending order")
	case !isWord(e.Type):
		return bad.With(fmt.Sprintf("the type is %.20q; want up to %d of a-z, 0-9, - and _", e.Type, maxWord))
	case e.Label != "" && !isWord(e.Label):
		return bad.With(fmt.Sprintf("the label is %.20q; want up to %d of a-z, 0-9, - and _", e.Label, maxWord))
	case e.ID != deployment.NewTransportID(e.Edges[0], e.Edges[1], e.Type):
		return bad.With("the id is not that of these edges and this type")
	case e.Signatures[own] == (cipher.Sig{}):
		return deployment.ErrUnauthorized.With("your signature is missing")
	}
	return nil
}

// prove says whether the signatures of e that are there hold, but for those that are
// known to.
func (s *Service) prove(e *deployment.SignedTransport) *deployment.Error {
	known := s.index.signatures(e.ID)
	signed := e.SignedBytes()
	for i, sig := range e.Signatures {
		if sig == (cipher.Sig{}) {
			if err := e.Edges[i].Validate(); err != nil {
				return deployment.ErrBadRequest.With(fmt.Sprintf("edge %d is no public key", i))
			}
			continue
		}
		if sig == known[i] {
			continue
		}
		s.proofs <- struct{}{}
		err := cipher.Verify(e.Edges[i], sig, signed)
		<-s.proofs
		if err != nil {
			return deployment.ErrUnauthorized.With(fmt.Sprintf("the signature of edge %d does not hold", i))
		}
	}
	return nil
}
