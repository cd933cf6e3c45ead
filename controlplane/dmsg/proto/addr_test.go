package proto

import (
	"net"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestParseAddr(t *testing.T) {
	pk := identity(t, 0x11).PubKey()
	key := pk.String()
	for _, c := range []struct {
		in       string
		fallback uint16
		want     Addr // zero: refused
	}{
		{key + ":80", 0, Addr{pk, 80}},
		{key + ":65535", 80, Addr{pk, 65535}},
		{strings.ToUpper(key) + ":1", 0, Addr{pk, 1}},
		{key, 80, Addr{pk, 80}},
		{key, 0, Addr{}},
		{key + ":", 80, Addr{}},
		{key + ":0", 80, Addr{}},
		{key + ":65536", 80, Addr{}},
		{key + ":-1", 80, Addr{}},
		{key + ":+1", 80, Addr{}},
		{key + ":80:80", 80, Addr{}},
		{key[1:] + ":80", 0, Addr{}},
		{strings.Repeat("0", 66) + ":80", 0, Addr{}},
		{"", 80, Addr{}},
		{strings.Repeat("x", 1<<16), 80, Addr{}},
	} {
		got, err := ParseAddr(c.in, c.fallback)
		if (err == nil) != (c.want != Addr{}) || got != c.want {
			t.Errorf("%.80q: %v, %v, want %v", c.in, got, err, c.want)
		}
		if err != nil && len(err.Error()) > 250 {
			t.Errorf("%.80q: an error of %d bytes", c.in, len(err.Error()))
		}
	}
	var a net.Addr = Addr{pk, 80}
	if a.Network() != "dmsg" || a.String() != key+":80" {
		t.Errorf("%s %s", a.Network(), a)
	}
	if (Addr{}).String() != (cipher.PubKey{}).String()+":0" {
		t.Errorf("unset address is %s", Addr{})
	}
}
