package disc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Boot is what a client must know of a deployment to reach everything else over
// dmsg: its servers, and the services as dmsg://<pk>:80.
type Boot struct {
	Servers            []*Entry // unsigned
	DmsgDiscovery      string
	TransportDiscovery string
	AddressResolver    string
	RouteFinder        string
	UptimeTracker      string
	ServiceDiscovery   string
}

// maxBoot bounds the file, in bytes.
const maxBoot = 1 << 20

// ParseBoot reads a file of the kind that is deployed as dmsghttp-config.json. It
// holds two deployments; test says which of them is wanted. data is borrowed.
func ParseBoot(data []byte, test bool) (*Boot, error) {
	if len(data) > maxBoot {
		return nil, fmt.Errorf("disc: boot file: %d bytes, at most %d are allowed", len(data), maxBoot)
	}
	type deployment struct {
		Servers []struct {
			Static cipher.PubKey `json:"static"`
			Server Server        `json:"server"`
		} `json:"dmsg_servers"`
		DmsgDiscovery      string `json:"dmsg_discovery"`
		TransportDiscovery string `json:"transport_discovery"`
		AddressResolver    string `json:"address_resolver"`
		RouteFinder        string `json:"route_finder"`
		UptimeTracker      string `json:"uptime_tracker"`
		ServiceDiscovery   string `json:"service_discovery"`
	}
	var file struct{ Test, Prod deployment }
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("disc: boot file: %w", err)
	}
	name, d := "prod", file.Prod
	if test {
		name, d = "test", file.Test
	}
	b := &Boot{
		DmsgDiscovery: d.DmsgDiscovery, TransportDiscovery: d.TransportDiscovery, AddressResolver: d.AddressResolver,
		RouteFinder: d.RouteFinder, UptimeTracker: d.UptimeTracker, ServiceDiscovery: d.ServiceDiscovery,
	}
	var errs []error
	for i, s := range d.Servers {
		if s.Static.IsZero() {
			errs = append(errs, fmt.Errorf("%s.dmsg_servers[%d]: no key in static", name, i))
		}
		if _, _, err := net.SplitHostPort(s.Server.Address); err != nil {
			errs = append(errs, fmt.Errorf("%s.dmsg_servers[%d]: server.address %q is not host:port", name, i, s.Server.Address))
		}
		server := s.Server
		// The file says nothing about room: assume some.
		server.AvailableSessions = max(server.AvailableSessions, 1)
		b.Servers = append(b.Servers, &Entry{Version: Version, Static: s.Static, Server: &server})
	}
	if len(d.Servers) == 0 {
		errs = append(errs, fmt.Errorf("%s.dmsg_servers: no server", name))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("disc: boot file: %w", errors.Join(errs...))
	}
	return b, nil
}

// Directory returns a directory of the boot's servers, in which each of pks is a
// client of all of them: so services are dialled that no discovery lists yet.
func (b *Boot) Directory(pks ...cipher.PubKey) *Static {
	s := NewStatic(b.Servers...)
	var all []cipher.PubKey
	for _, e := range b.Servers {
		all = append(all, e.Static)
	}
	for _, pk := range pks {
		s.Add(&Entry{Version: Version, Static: pk, Client: &Client{DelegatedServers: all}})
	}
	return s
}
