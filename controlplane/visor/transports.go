package visor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/transport"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Transports implements api.Visor.
func (v *Visor) Transports(context.Context) ([]api.Transport, error) {
	m, err := v.manager()
	if err != nil {
		return nil, err
	}
	infos := m.List()
	all := make([]api.Transport, 0, len(infos))
	for _, i := range infos {
		all = append(all, v.apiTransport(i))
	}
	return all, nil
}

// manager returns the transport manager, or says that there is none.
func (v *Visor) manager() (*transport.Manager, error) {
	if v.network.transports == nil {
		return nil, errNoNetwork()
	}
	return v.network.transports, nil
}

// apiTransport writes a transport as the API has it.
func (v *Visor) apiTransport(i transport.Info) api.Transport {
	t := api.Transport{
		ID: text(i.ID), PK: i.PK, Type: i.Type, Label: i.Label, State: i.State, Why: why(i), Registered: []string{}, Addr: i.Addr,
		RTTMicros: i.RTT.Microseconds(), LossPPM: i.LossPPM, Mbps: i.Mbps, SentBytes: i.SentBytes, RecvBytes: i.RecvBytes,
		LastError: i.LastError, Persistent: i.Persistent, Automatic: i.Auto,
	}
	if !i.Since.IsZero() {
		since := i.Since.UTC().Round(time.Second)
		t.Since = &since
	}
	if i.Registered {
		for _, pk := range i.Deployments {
			t.Registered = append(t.Registered, v.network.name(pk))
		}
	}
	return t
}

// text writes a transport's id.
func text(id graph.TransportID) string {
	b, _ := id.MarshalText() // never fails
	return string(b)
}

// why says for what reason there is a transport.
func why(i transport.Info) string {
	switch {
	case i.Persistent:
		return "persistent"
	case i.Auto:
		return "automatic"
	case i.Inbound:
		return "inbound"
	}
	return "needed"
}

// name returns the name of the deployment with key pk.
func (n *network) name(pk cipher.PubKey) string {
	for _, m := range n.members {
		if m.conf.ID == pk {
			return nameOf(m.conf)
		}
	}
	return pk.Short()
}

// AddTransport implements api.Visor.
func (v *Visor) AddTransport(ctx context.Context, spec api.TransportSpec, save bool) (api.Transport, error) {
	m, err := v.manager()
	if err != nil {
		return api.Transport{}, err
	}
	info, err := m.Add(ctx, spec.PK, spec.Type, transport.Options{Label: spec.Label, Persistent: save})
	refused := errors.Is(err, transport.ErrType) || errors.Is(err, transport.ErrSelf)
	if save && !refused {
		// One that is not up now is kept all the same, and one that is there stays.
		saved := v.change(true, func(c *config.Config) {
			c.Transport.Persistent = append(withoutPersistent(c.Transport.Persistent, spec.PK, spec.Type), config.Persistent(spec))
		})
		if saved != nil {
			return api.Transport{}, saved
		}
		if errors.Is(err, transport.ErrExists) {
			return v.transportTo(spec)
		}
	}
	if err != nil {
		err = translateTransport(err)
		if save && !refused {
			return api.Transport{}, api.ErrUnreachable.With("saved, and tried again for ever; not up now: %v", err)
		}
		return api.Transport{}, err
	}
	return v.apiTransport(info), nil
}

// transportTo returns the transport that spec asks for and that is there.
func (v *Visor) transportTo(spec api.TransportSpec) (api.Transport, error) {
	for _, i := range v.network.transports.List() {
		if i.PK == spec.PK && (spec.Type == "" || i.Type == spec.Type) {
			return v.apiTransport(i), nil
		}
	}
	return api.Transport{}, notFound("transport to", spec.PK.String())
}

// RemoveTransport implements api.Visor.
func (v *Visor) RemoveTransport(_ context.Context, id api.TransportID, save bool) error {
	m, err := v.manager()
	if err != nil {
		return err
	}
	if id.ID == "" {
		missing := translateTransport(m.RemovePeer(id.PK, id.Type))
		return v.forget(save, missing, id.PK, id.Type)
	}
	for _, i := range m.List() {
		if text(i.ID) == id.ID {
			return v.forget(save, translateTransport(m.Remove(i.ID)), i.PK, i.Type)
		}
	}
	return notFound("transport", id.ID)
}

// forget ends a removal: with save, a transport is not wanted by the configuration any
// more. missing is what the manager said.
func (v *Visor) forget(save bool, missing error, pk cipher.PubKey, typ string) error {
	if missing != nil && (!save || !errors.Is(missing, api.ErrNotFound)) {
		return missing
	}
	if !save {
		return nil
	}
	if missing != nil && !slices.ContainsFunc(v.config().Transport.Persistent, func(p config.Persistent) bool { return p.PK == pk }) {
		return missing
	}
	return v.change(true, func(c *config.Config) {
		c.Transport.Persistent = withoutPersistent(c.Transport.Persistent, pk, typ)
	})
}

// withoutPersistent removes the transports to pk of that type, "" being all.
func withoutPersistent(all []config.Persistent, pk cipher.PubKey, typ string) []config.Persistent {
	return slices.DeleteFunc(slices.Clone(all), func(p config.Persistent) bool {
		return p.PK == pk && (typ == "" || p.Type == typ)
	})
}

// TransportTypes implements api.Visor.
func (v *Visor) TransportTypes(context.Context) ([]api.TransportType, error) {
	n := v.network
	if n.transports == nil {
		return nil, errNoNetwork()
	}
	resolver, relays := false, 0
	for _, m := range n.members {
		resolver = resolver || m.ar != nil
		relays += len(m.dmsg.client.Sessions())
	}
	stcpr := api.TransportType{Type: api.STCPR, Available: true, Text: "TCP to the address that an address resolver knows"}
	if !resolver && len(v.config().Transport.Table) == 0 {
		stcpr.Available, stcpr.Text = false, "no deployment has an address resolver, and transport.table is empty"
	}
	sudph := api.TransportType{Type: api.SUDPH, Available: relays > 0, Text: "UDP, through NATs by hole punching"}
	dmsg := api.TransportType{Type: api.DMSG, Available: relays > 0, Text: "through relays, until there is a direct one"}
	if relays == 0 {
		sudph.Text = "no relay is connected, by which the two sides tell each other their addresses"
		dmsg.Text = "no relay is connected"
	}
	return []api.TransportType{stcpr, sudph, dmsg}, nil
}

// AutoTransports implements api.Visor.
func (v *Visor) AutoTransports(context.Context) (api.Auto, error) {
	m, err := v.manager()
	if err != nil {
		return api.Auto{}, err
	}
	c := &v.config().Transport
	a := api.Auto{On: c.Auto, Have: map[string]int{}, Public: c.Public}
	for _, i := range m.List() {
		if i.Auto && i.State == transport.StateUp {
			a.Have[i.Type]++
		}
	}
	if !c.Public {
		return a, nil
	}
	a.PublicWhy = "it has not been tried yet"
	for _, i := range m.Members() {
		switch {
		case i.Listed:
			a.PublicWhy = ""
			return a, nil
		case i.SDError != "":
			a.PublicWhy = i.SDError
		case i.ARError != "":
			a.PublicWhy = i.ARError
		case !i.Bound.Reachable && i.Bound.Why != "":
			a.PublicWhy = "it cannot be reached from outside: " + i.Bound.Why
		}
	}
	return a, nil
}

// SetAutoTransports implements api.Visor.
func (v *Visor) SetAutoTransports(_ context.Context, on, save bool) error {
	if _, err := v.manager(); err != nil {
		return err
	}
	return v.change(save, func(c *config.Config) { c.Transport.Auto = on })
}

// translateTransport gives errors of the transport manager the codes of the API.
func translateTransport(err error) error {
	if err == nil {
		return nil
	}
	for _, c := range []struct {
		is   error
		code *api.Error
	}{
		{transport.ErrNotFound, api.ErrNotFound},
		{transport.ErrExists, api.ErrExists},
		{transport.ErrSelf, api.ErrBadRequest},
		{transport.ErrType, api.ErrBadRequest},
		{transport.ErrNoWay, api.ErrUnreachable},
		{context.DeadlineExceeded, api.ErrTimeout},
	} {
		if errors.Is(err, c.is) {
			return c.code.With("%v", err)
		}
	}
	return api.ErrInternal.With("%v", err)
}
