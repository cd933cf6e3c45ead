package ctl

import (
	"strconv"

	"github.com/alecthomas/kingpin/v2"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A keyValue is a public key on the command line.
type keyValue struct{ pk *cipher.PubKey }

// Set implements kingpin.Value.
func (v keyValue) Set(s string) error {
	pk, err := cipher.ParsePubKeyText(s)
	if err != nil {
		return api.ErrBadRequest.With("%q is no public key (66 hex digits): %v", s, err)
	}
	*v.pk = pk
	return nil
}

// String implements kingpin.Value.
func (v keyValue) String() string { return "" }

// keyOf adds a public key to a command.
func keyOf(s interface{ SetValue(kingpin.Value) }) *cipher.PubKey {
	pk := new(cipher.PubKey)
	s.SetValue(keyValue{pk})
	return pk
}

// A keysValue is a flag that may be given several times, one key each.
type keysValue struct{ pks *[]cipher.PubKey }

// Set implements kingpin.Value.
func (v keysValue) Set(s string) error {
	var pk cipher.PubKey
	if err := (keyValue{&pk}).Set(s); err != nil {
		return err
	}
	*v.pks = append(*v.pks, pk)
	return nil
}

// String implements kingpin.Value.
func (v keysValue) String() string { return "" }

// IsCumulative tells kingpin that the flag may be given several times.
func (v keysValue) IsCumulative() bool { return true }

// A portValue is a port of a key, from 1 to 65535.
type portValue struct{ port *uint16 }

// Set implements kingpin.Value.
func (v portValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return api.ErrBadRequest.With("%q is no port (1 to 65535)", s)
	}
	*v.port = uint16(n)
	return nil
}

// String implements kingpin.Value.
func (v portValue) String() string { return "" }

// A hopValue is "<key>:<label>".
type hopValue struct{ hop *api.Hop }

// Set implements kingpin.Value.
func (v hopValue) Set(s string) error {
	h, err := api.ParseHop(s)
	if err != nil {
		return api.ErrBadRequest.With("%v", err)
	}
	*v.hop = h
	return nil
}

// String implements kingpin.Value.
func (v hopValue) String() string { return "" }

// hopOf adds a hop to a command.
func hopOf(s interface{ SetValue(kingpin.Value) }) *api.Hop {
	h := new(api.Hop)
	s.SetValue(hopValue{h})
	return h
}
