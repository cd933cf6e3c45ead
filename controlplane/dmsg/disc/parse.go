package disc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of an entry.
const (
	// MaxEntry is the most bytes of an entry: room for MaxDelegated servers, some
	// 70 bytes each, twice.
	MaxEntry = 32 << 10
	// MaxDelegated is the most servers of a client. Each costs a square root to
	// check; deployed clients list a handful.
	MaxDelegated = 256
)

// Parse reads an entry, which must have no member twice. It checks that the keys
// in it are points or unset; the signature and the rules for publishing are not
// its business. raw is borrowed.
//
// The error is ErrFormat.
func Parse(raw []byte) (*Entry, error) {
	if len(raw) > MaxEntry {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrFormat, len(raw), MaxEntry)
	}
	var b bytes.Buffer
	b.Grow(len(raw))
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	e := &Entry{raw: b.Bytes()}
	if err := decode(e.raw, e.set); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return e, nil
}

// decode hands each member of an object to set. It is stricter than encoding/json,
// which takes "SIGNATURE" for "signature" and the last of two: others might read
// something else then than what was verified. value is compact and valid JSON.
func decode(value []byte, set func(name string, value []byte) error) error {
	if value[0] != '{' {
		return errors.New("not a JSON object")
	}
	seen := make(map[string]bool, 8)
	for m := range members(value) {
		name := string(m.name(value))
		if seen[name] {
			return fmt.Errorf("member %q stands there twice", name)
		}
		seen[name] = true
		if err := set(name, value[m.value:m.end]); err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
	}
	return nil
}

// set decodes one member. Those of newer versions are kept in raw, where the
// signature covers them.
func (e *Entry) set(name string, value []byte) error {
	switch name {
	case "version":
		return json.Unmarshal(value, &e.Version)
	case "sequence":
		return json.Unmarshal(value, &e.Sequence)
	case "timestamp":
		return json.Unmarshal(value, &e.Timestamp)
	case "static":
		return json.Unmarshal(value, &e.Static)
	case "client":
		if string(value) != "null" {
			e.Client = &Client{}
			return decode(value, e.Client.set)
		}
	case "client_type":
		return json.Unmarshal(value, &e.ClientType)
	case "server":
		if string(value) != "null" {
			e.Server = &Server{}
			return decode(value, e.Server.set)
		}
	case "signature":
		return json.Unmarshal(value, &e.Signature)
	case "protocol":
		return json.Unmarshal(value, &e.Protocol)
	}
	return nil
}

func (c *Client) set(name string, value []byte) error {
	if name != "delegated_servers" {
		return nil
	}
	// Count before any key is checked: there is one comma fewer than keys.
	if bytes.Count(value, []byte(",")) >= MaxDelegated {
		return fmt.Errorf("more than %d keys", MaxDelegated)
	}
	return json.Unmarshal(value, &c.DelegatedServers)
}

func (s *Server) set(name string, value []byte) error {
	switch name {
	case "address":
		return json.Unmarshal(value, &s.Address)
	case "availableSessions":
		return json.Unmarshal(value, &s.AvailableSessions)
	case "serverType":
		return json.Unmarshal(value, &s.ServerType)
	case "address_v6":
		return json.Unmarshal(value, &s.AddressV6)
	}
	return nil
}
