package disc

import (
	"fmt"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Verify says whether the key that the entry speaks for signed the bytes that were
// received. It fails with ErrSignature.
func (e *Entry) Verify() error {
	sig, payload, err := e.signed()
	if err != nil {
		return err
	}
	return check(e.Static, sig, payload)
}

// VerifyServed is Verify for an entry that a discovery gave out. A discovery
// overwrites the serverType of servers, so what the server may have signed instead
// is tried too: no type, or the other one. Where it was a pass-phrase, nobody but
// the discovery can verify the entry.
func (e *Entry) VerifyServed() error {
	sig, payload, err := e.signed()
	if err != nil {
		return err
	}
	if err = check(e.Static, sig, payload); err == nil || e.Server == nil {
		return err
	}
	for _, t := range []string{"", Official, Community} {
		if t != e.Server.ServerType && check(e.Static, sig, retype(payload, t)) == nil {
			return nil
		}
	}
	return err
}

// signed takes signature and signed bytes apart.
func (e *Entry) signed() (sig cipher.Sig, payload []byte, err error) {
	if e.Static.IsZero() || e.Signature == "" || e.raw == nil {
		return sig, nil, fmt.Errorf("%w: no key or no signature", ErrSignature)
	}
	if err := sig.UnmarshalText([]byte(e.Signature)); err != nil {
		return sig, nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	m, ok := find(e.raw, "signature")
	if !ok {
		return sig, nil, fmt.Errorf("%w: no signature", ErrSignature)
	}
	return sig, without(e.raw, m), nil
}

func check(pk cipher.PubKey, sig cipher.Sig, payload []byte) error {
	if err := cipher.Verify(pk, sig, payload); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// WithServerType returns the entry as a discovery gives it out: the same bytes but
// for the type of the server. An entry without a server is returned as it is. e
// must have come from Parse or Sign; it is not changed.
func (e *Entry) WithServerType(t string) *Entry {
	if e.Server == nil || e.Server.ServerType == t {
		return e
	}
	out, server := *e, *e.Server
	server.ServerType = t
	out.Server, out.raw = &server, retype(e.raw, t)
	return &out
}

// retype returns a copy of an entry's bytes with another serverType, or none if t
// is "". t must need no escapes.
func retype(raw []byte, t string) []byte {
	m, ok := find(raw, "server")
	if !ok || raw[m.value] != '{' {
		return raw
	}
	server := raw[m.value:m.end]
	old, has := find(server, "serverType")
	switch {
	case has && t == "":
		server = without(server, old)
	case has:
		server = replace(server, old.value, old.end, []byte(`"`+t+`"`))
	case t != "":
		add := `,"serverType":"` + t + `"`
		if len(server) == len("{}") {
			add = add[1:]
		}
		server = replace(server, len(server)-1, len(server)-1, []byte(add))
	}
	return replace(raw, m.value, m.end, server)
}
