package visor

import (
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// An admission says who may do what with the visor. It is replaced whole.
type admission struct {
	everybody bool // may have direct transports, where links takes their links
	allow     map[cipher.PubKey]bool
	links     bool // everybody's links are taken
	linked    map[cipher.PubKey]bool
	wanted    map[cipher.PubKey]bool // to whom the configuration wants links or transports
	manage    map[cipher.PubKey]bool
}

func newAdmission(c *config.Config) *admission {
	a := &admission{
		everybody: c.Transport.Accept == config.AcceptOpen, allow: set(c.Transport.Allow),
		links: c.Policy.Inbound == config.InboundOpen, linked: set(c.Policy.Allow),
		wanted: map[cipher.PubKey]bool{}, manage: set(c.Management.Allow),
	}
	for _, l := range c.Links {
		a.wanted[l.PK] = true
	}
	for _, p := range c.Transport.Persistent {
		a.wanted[p.PK] = true
	}
	return a
}

func set(pks []cipher.PubKey) map[cipher.PubKey]bool {
	all := make(map[cipher.PubKey]bool, len(pks))
	for _, pk := range pks {
		all[pk] = true
	}
	return all
}

// candidates says whether pk may learn this machine's addresses and have a direct
// transport.
func (a *admission) candidates(pk cipher.PubKey) bool {
	return a.wanted[pk] || (a.everybody || a.allow[pk]) && (a.links || a.linked[pk])
}
