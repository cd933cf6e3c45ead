package visor

import (
	"fmt"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/transport"
)

// status fills in how the visor stands with its networks.
func (n *network) status(s *api.Status) {
	if n.section != nil {
		s.Dmsg = n.section.status()
	}
	if n.relay != nil {
		s.Relay = n.relay.status()
	}
	if n.transports == nil {
		return
	}
	for _, t := range n.transports.List() {
		s.Transports++
		if t.State == transport.StateUp {
			s.TransportsUp++
		}
	}
	infos := n.transports.Members()
	for _, m := range n.members {
		s.SetupNode = s.SetupNode || m.node != nil
		ms := api.Membership{PK: m.conf.ID, Name: m.conf.Name, Dmsg: *m.dmsg.status(), Errors: []string{}}
		for _, i := range infos {
			if i.ID == m.conf.ID {
				fillMembership(&ms, i)
			}
		}
		s.Deployments = append(s.Deployments, ms)
	}
}

// fillMembership adds what the transport manager knows.
func fillMembership(ms *api.Membership, i transport.MemberInfo) {
	ms.Transports, ms.Quarantined = i.Transports, i.Quarantined
	ms.Heartbeat = timeOrNil(i.Heartbeat)
	if i.Bound.RemoteAddr.IsValid() {
		ms.RemoteAddr = i.Bound.RemoteAddr.String()
	}
	ms.Reachable, ms.Listed = i.Bound.Reachable, i.Listed
	for _, e := range []struct{ who, what string }{
		{"transport discovery", i.TPDError},
		{"address resolver", i.ARError},
		{"service discovery", i.SDError},
	} {
		if e.what != "" {
			ms.Errors = append(ms.Errors, fmt.Sprintf("%s: %s", e.who, e.what))
		}
	}
}
