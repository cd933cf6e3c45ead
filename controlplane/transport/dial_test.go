package transport

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// The addresses of a visor's interfaces are for those behind the same NAT, who try its
// public one last.
func TestOrder(t *testing.T) {
	local := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:7"), netip.MustParseAddrPort("10.1.0.1:7"), netip.MustParseAddrPort("10.2.0.1:7")}
	at := netip.MustParseAddrPort
	for _, tt := range []struct {
		ours, remote netip.AddrPort
		local        []netip.AddrPort
		want         string
	}{
		{at("192.0.2.1:1"), at("192.0.2.2:7"), local, "[192.0.2.2:7]"},
		{at("192.0.2.1:1"), at("192.0.2.1:7"), local, "[10.0.0.1:7 10.1.0.1:7 192.0.2.1:7]"},
		{at("192.0.2.1:1"), at("192.0.2.1:7"), nil, "[192.0.2.1:7]"},
		{at("10.0.0.1:1"), at("10.0.0.1:7"), local, "[10.0.0.1:7 10.1.0.1:7]"},
		{at("192.0.2.1:1"), at("192.0.2.1:0"), local, "[10.0.0.1:7 10.1.0.1:7]"},
		{netip.AddrPort{}, at("192.0.2.1:7"), local, "[192.0.2.1:7]"},
		{netip.AddrPort{}, netip.AddrPort{}, local, "[]"},
	} {
		d := &member{m: &Manager{}, bound: deployment.Bound{RemoteAddr: tt.ours}}
		if got := fmt.Sprint(d.order(tt.remote, tt.local)); got != tt.want {
			t.Errorf("from %v to %v: %s, want %s", tt.ours, tt.remote, got, tt.want)
		}
	}
}

// A resolver that knows a visor, but nowhere to connect to, is an error in words.
func TestNoAddress(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		pk, _ := cipher.GenerateKeyPair()
		sv.mu.Lock()
		sv.records[pk] = deployment.Record{RemoteAddr: netip.MustParseAddrPort("192.0.2.1:0")}
		sv.mu.Unlock()
		err := b.Ensure(t.Context(), pk)
		if err == nil || !strings.Contains(err.Error(), "address resolver: it knows no address") {
			t.Errorf("%v", err)
		}
	})
}
