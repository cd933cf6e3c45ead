package seat

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
)

func TestTake(t *testing.T) {
	old := Seat{ID: "b", Started: 100, From: "a private address"}
	tests := []struct {
		name string
		held Seat
		in   deployment.Instance
		ok   bool
	}{
		{"free", Seat{}, deployment.Instance{ID: "a", Started: 1}, true},
		{"the same again", old, deployment.Instance{ID: "b", Started: 100}, true},
		{"started later", old, deployment.Instance{ID: "a", Started: 101}, true},
		{"started before", old, deployment.Instance{ID: "c", Started: 99}, false},
		{"at once, larger", old, deployment.Instance{ID: "c", Started: 100}, true},
		{"at once, smaller", old, deployment.Instance{ID: "a", Started: 100}, false},
		{"deployed visor", old, deployment.Instance{}, true},
	}
	for _, tt := range tests {
		got, err := tt.held.Take(tt.in, "here")
		if (err == nil) != tt.ok || err != nil && (!errors.Is(err, deployment.ErrDuplicateKey) || !strings.Contains(err.Error(), "a private address")) {
			t.Errorf("%s: %v", tt.name, err)
		}
		want := Seat{tt.in.ID, tt.in.Started, "here"}
		if !tt.ok || tt.in.ID == "" {
			want = tt.held
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
}

func TestClass(t *testing.T) {
	tests := []struct {
		addr, class string
		private     bool
	}{
		{"127.0.0.1", "a loopback address", true},
		{"::1", "a loopback address", true},
		{"10.1.2.3", "a private address", true},
		{"::ffff:192.168.1.1", "a private address", true},
		{"100.64.0.1", "a private address", true},
		{"100.128.0.1", "a public IPv4 address", false},
		{"169.254.1.1", "a private address", true},
		{"fd00::1", "a private address", true},
		{"fe80::1", "a private address", true},
		{"0.0.0.0", "a private address", true},
		{"224.0.0.1", "a private address", true},
		{"8.8.8.8", "a public IPv4 address", false},
		{"2001:4860::1", "a public IPv6 address", false},
	}
	for _, tt := range tests {
		a := netip.MustParseAddr(tt.addr)
		if Class(a) != tt.class || IsPrivate(a) != tt.private {
			t.Errorf("%s: %s, %v", tt.addr, Class(a), IsPrivate(a))
		}
	}
	if Class(netip.Addr{}) != "an address known only to dmsg" {
		t.Error("no address")
	}
}
