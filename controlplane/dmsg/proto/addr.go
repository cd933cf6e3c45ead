package proto

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Addr is one end of a stream. Port 0 is no port.
type Addr struct {
	PK   cipher.PubKey
	Port uint16
}

// ParseAddr reads "<pk>:<port>", or "<pk>" alone where defaultPort is not 0.
func ParseAddr(s string, defaultPort uint16) (Addr, error) {
	key, port, found := strings.Cut(s, ":")
	pk, err := cipher.ParsePubKeyText(key)
	if err != nil {
		return Addr{}, fmt.Errorf("dmsg: address %q: %w", clip(s), err)
	}
	a := Addr{PK: pk, Port: defaultPort}
	if found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return Addr{}, fmt.Errorf("dmsg: address %q: port must be a number from 1 to 65535", clip(s))
		}
		a.Port = uint16(n)
	}
	if a.Port == 0 {
		return Addr{}, fmt.Errorf("dmsg: address %q: port must be a number from 1 to 65535", clip(s))
	}
	return a, nil
}

// clip keeps what an error quotes short.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Network returns "dmsg". With String it makes Addr a net.Addr.
func (a Addr) Network() string { return "dmsg" }

// String returns "<pk>:<port>", the key in 66 hex digits.
func (a Addr) String() string { return a.PK.String() + ":" + strconv.Itoa(int(a.Port)) }
