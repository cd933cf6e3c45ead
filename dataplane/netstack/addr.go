package netstack

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Net is what [Addr.Network] returns.
const Net = "skynet"

// An Addr is one end of a stream or datagram: a visor and a port there.
// It is comparable.
type Addr struct {
	PK   cipher.PubKey
	Port uint16
	// Class is the set of routes that leads there, 0 for the ordinary one. It is no part
	// of the text form: it means something here only.
	Class uint32
}

// Network returns "skynet".
func (a Addr) Network() string { return Net }

// overlay returns the address that stands for a's visor and class inside gVisor.
func (a Addr) overlay() [16]byte { return a.PK.ClassAddr(a.Class).As16() }

// String returns <pk>:<port>, the key in hex.
func (a Addr) String() string { return a.PK.String() + ":" + strconv.Itoa(int(a.Port)) }

// ParseAddr reads <pk>:<port>. The key is 66 hex digits or the DNS-label form of
// 53 characters, with or without the suffix ".skynet"; the port is 1 to 65535.
//
// Errors: a text that says which half is wrong; a bad key wraps the error of
// package cipher.
func ParseAddr(s string) (Addr, error) {
	host, port, ok := strings.Cut(s, ":")
	if !ok {
		return Addr{}, fmt.Errorf("skynet: address %q: want <public key>:<port>", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '+' {
		return Addr{}, fmt.Errorf("skynet: address %q: port %q is not 1 to 65535", s, port)
	}
	pk, err := ParseHost(host)
	if err != nil {
		return Addr{}, fmt.Errorf("skynet: address %q: %w", s, err)
	}
	return Addr{PK: pk, Port: uint16(n)}, nil
}

// ParseHost reads the key part of an address, in any of the forms that
// [ParseAddr] takes.
func ParseHost(host string) (cipher.PubKey, error) {
	host = strings.TrimSuffix(host, "."+Net)
	if len(host) == cipher.LabelLen {
		return cipher.ParseLabel(host)
	}
	return cipher.ParsePubKeyText(host)
}
