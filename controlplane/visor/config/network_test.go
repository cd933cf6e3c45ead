package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/api"
)

// TestNetworkFaults: each is told where it stands, with what to do.
func TestNetworkFaults(t *testing.T) {
	deployment := func(id, more string) string {
		return fmt.Sprintf(`{"deployment":%q,"name":"lab","dmsg_discovery":"http://h","stun_servers":[],"route_setup_nodes":[]%s}`, id, more)
	}
	relay := `,"dmsg_servers":["` + g1 + `@h:1"]`
	tests := []struct {
		name, text string
		want       []string // each the beginning of a fault's path and text; none is no fault
	}{
		{"none", `"deployments":[` + deployment(g1, "") + `]`, nil},
		{"two", `"deployments":[` + deployment(g1, relay) + `,` + deployment(g2, "") + `]`, nil},
		{"unknown key", `"deployments":[{"deplyment":"x"}]`, []string{`deployments[0]: unknown key "deplyment"; did you mean "deployment"?`}},
		{"no key", `"deployments":[{"dmsg_discovery":"http://h"}]`, []string{"deployments[0].deployment: no key"}},
		{"no network", `"deployments":[{"deployment":"` + g1 + `"}]`, []string{"deployments[0]: has neither dmsg_discovery nor dmsg_servers"}},
		{"bad URL", `"deployments":[` + deployment(g1, `,"route_finder":"ftp://x"`) + `]`, []string{"deployments[0].route_finder: \"ftp://x\" is no URL"}},
		{"over dmsg without a relay", `"deployments":[{"deployment":"` + g1 + `","dmsg_discovery":"dmsg://` + g1 + `:80"}]`, []string{"deployments[0].dmsg_servers: is empty"}},
		{"twice", `"deployments":[` + deployment(g1, "") + `,` + deployment(g1, "") + `]`, []string{"deployments[1].deployment: deployments[0] has the same key"}},
		{"one relay in two", `"deployments":[` + deployment(g1, relay) + `,` + deployment(g2, relay) + `]`, []string{"deployments[1].dmsg_servers[0]: deployments[0].dmsg_servers[0] pins the same relay"}},
		{"one relay here and there", `"dmsg":{"servers":["` + g1 + `@h:1"]},"deployments":[` + deployment(g1, relay) + `]`, []string{"deployments[0].dmsg_servers[0]: dmsg.servers[0] pins the same relay"}},
		{"transport", `"transport":{"accept":"some","persistent":[{"type":"tcp"}],"table":[{"addr":"x"}]}`, []string{"transport.accept: is \"some\"", "transport.persistent[0].pk: is missing", "transport.persistent[0].type: is \"tcp\"", "transport.table[0].pk: is missing", "transport.table[0].addr: is \"x\""}},
		{"list without effect", `"transport":{"allow":["` + g1 + `"]}`, []string{"transport.allow: has no effect"}},
		{"public without TCP", `"listen_tcp":"","transport":{"public":true}`, []string{"transport.public: is set, but the visor takes no links over TCP"}},
		{"routing", `"routing":{"min_hops":9,"max_hops":3,"path_finder":"oracle"}`, []string{"routing.max_hops: is 3, less than min_hops", "routing.path_finder: is \"oracle\""}},
		{"relay", `"dmsg_server":{"listen":"x","public_address":"0.0.0.0:1"}`, []string{"dmsg_server.listen: is \"x\"", "dmsg_server.public_address: is \"0.0.0.0:1\", which is every address", "dmsg_server.secret_key_file: is missing"}},
		{"relay with the visor's key", `"dmsg_server":{"listen":"[::]:1","public_address":"h:1","secret_key_file":"k"}`, []string{"dmsg_server.secret_key_file: is the visor's own"}},
		{"setup node of nobody", `"setup_node":true`, []string{"setup_node: is set, but the visor is in no dmsg network"}},
		{"metrics", `"metrics":{"addr":"localhost"}`, []string{"metrics.addr: is \"localhost\""}},
		{"dmsg link by a deployment", `"links":[{"pk":"` + g1 + `","type":"dmsg"}],"deployments":[` + deployment(g1, "") + `]`, nil},
		{"a way", `"forwards":[{"reach":"` + g1 + `:1","local":"127.0.0.1:1","route":{"mux_routes":99}}]`, []string{"forwards[0].route.mux_routes: is 99; want 0 to 8"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("f", []byte(`{"secret_key_file":"k",`+tt.text+`}`))
			faults := api.Split(err)
			if len(faults) != len(tt.want) {
				t.Fatalf("got %v\nwant %d faults", err, len(tt.want))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), ": "+want) {
					t.Errorf("got %v\nwant %q in it", err, want)
				}
			}
		})
	}
}
