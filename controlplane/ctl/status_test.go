package ctl

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// TestStatusOfDmsg compares with what somebody has looked at.
func TestStatusOfDmsg(t *testing.T) {
	relay := api.Relay{PK: pk(t, k1), Addr: "192.0.2.7:8081", Since: time.Now().Add(-time.Hour), RTTMicros: 1200, Streams: 3}
	leaving := relay
	leaving.Draining = true
	tests := []struct {
		name string
		dmsg *api.Dmsg
		want string
	}{
		{"none", nil, ""},
		{"fine", &api.Dmsg{Discovery: "http://d:9090", Reachable: true, Relays: []api.Relay{relay, leaving}}, `
dmsg      reachable, http://d:9090
  relay   ` + k1 + ` at 192.0.2.7:8081 for 1h00m, RTT 1.20 ms, streams 3
  relay   ` + k1 + ` at 192.0.2.7:8081 for 1h00m, RTT 1.20 ms, streams 3, about to stop
`},
		{"at start", &api.Dmsg{Discovery: "http://d:9090", Relays: []api.Relay{}}, "\ndmsg      not reachable yet, http://d:9090\n"},
		{"no relay", &api.Dmsg{LastError: "no relay is connected"}, "\ndmsg      not reachable, by given relays: no relay is connected\n"},
		{"hostile", &api.Dmsg{Discovery: "http://d", LastError: "disc: \x1b[31m"}, "\ndmsg      not reachable, http://d: ?[31m\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := New(&out, &out, "v1", "/nowhere/s")
			p.printStatus(api.Status{Dmsg: tt.dmsg})
			_, got, _ := strings.Cut(out.String(), "nowhere")
			got, _, _ = strings.Cut(got, "links ")
			if strings.TrimPrefix(got, "\n") != strings.TrimPrefix(tt.want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}
