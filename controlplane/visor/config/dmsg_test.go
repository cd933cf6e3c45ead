package config

import (
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/api"
)

// TestDmsgFaults: what the section "dmsg" can be wrong about.
func TestDmsgFaults(t *testing.T) {
	const relay = `"` + g1 + `@relay.example.com:8081"`
	tests := []struct {
		name, dmsg string
		want       []string // in the lines of the error, in their order
	}{
		{"discovery", `{"discovery":"http://dmsgd.example.com:9090"}`, nil},
		{"servers", `{"servers":[` + relay + `]}`, nil},
		{"both", `{"discovery":"https://dmsgd.example.com/x","servers":[` + relay + `,"` + g2 + `@[2001:db8::1]:8081"],"sessions":64}`, nil},
		{"discovery over dmsg", `{"discovery":"dmsg://` + g2 + `:80","servers":[` + relay + `]}`, nil},
		{"nothing", `{}`, []string{":1:31: dmsg: names no network"}},
		{"no relay to it", `{"discovery":"dmsg://` + g2 + `:80"}`, []string{"dmsg.servers: is empty"}},
		{"no URL", `{"discovery":"dmsgd.example.com:9090"}`, []string{`:1:44: dmsg.discovery: is "dmsgd.example.com:9090"; want http://host:port`}},
		{"no key", `{"discovery":"dmsg://x:80","servers":[` + relay + `]}`, []string{"dmsg.discovery: is"}},
		{"no effect", `{"servers":[` + relay + `],"sessions":2}`, []string{"dmsg.sessions: has no effect without discovery"}},
		{"many", `{"discovery":"http://h","sessions":65}`, []string{"dmsg.sessions: is 65; want 0 to 64"}},
		{"twice", `{"servers":[` + relay + `,` + relay + `]}`, []string{"dmsg.servers[1]: servers[0] has the same key"}},
		{"server without key", `{"servers":["relay.example.com:8081"]}`, []string{"dmsg.servers[0]: is \"relay.example.com:8081\"; want the relay's key and address"}},
		{"server without port", `{"servers":["` + g1 + `@relay"]}`, []string{`dmsg.servers[0]: "relay" is no address`}},
		{"server without host", `{"servers":["` + g1 + `@:1"]}`, []string{`dmsg.servers[0]: ":1" is no address`}},
		{"server with bad key", `{"servers":["02zz@relay:1"]}`, []string{`dmsg.servers[0]: "02zz" is no public key`}},
		{"typo", `{"discovry":"http://h"}`, []string{`dmsg: unknown key "discovry"; did you mean "discovery"?`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("f", []byte(`{"secret_key_file":"k","dmsg":`+tt.dmsg+`}`))
			faults := api.Split(err)
			if len(faults) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(faults), len(tt.want), err)
			}
			for i, e := range faults {
				if !strings.HasPrefix(e.Error(), "config: f:1:") || !strings.Contains(e.Error(), tt.want[i]) {
					t.Errorf("got %q, want %q in it", e, tt.want[i])
				}
			}
		})
	}
}

// TestDmsgLinkNeedsNetwork: the mistake is told where the link stands.
func TestDmsgLinkNeedsNetwork(t *testing.T) {
	const link = `{"secret_key_file":"k","links":[{"pk":"` + g1 + `","type":"dmsg"}]`
	_, err := parse("f", []byte(link+"}"))
	if faults := api.Split(err); len(faults) != 1 || !strings.Contains(err.Error(), `links[0].type: is "dmsg", but there is no network for it`) {
		t.Errorf("got %v", err)
	}
	if _, err := parse("f", []byte(link+`,"dmsg":{"discovery":"http://h"}}`)); err != nil {
		t.Error(err)
	}
}
