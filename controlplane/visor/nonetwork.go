package visor

import (
	"context"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// errNoNetwork refuses what only a deployment makes possible.
func errNoNetwork() error {
	return api.ErrNoNetwork.With("this visor is in no deployment: \"skyctl config gen --force --deployment URL\" has it join one, after a restart")
}

// Transports implements api.Visor.
func (v *Visor) Transports(context.Context) ([]api.Transport, error) { return nil, errNoNetwork() }

// AddTransport implements api.Visor.
func (v *Visor) AddTransport(context.Context, api.TransportSpec, bool) (api.Transport, error) {
	return api.Transport{}, errNoNetwork()
}

// RemoveTransport implements api.Visor.
func (v *Visor) RemoveTransport(context.Context, api.TransportID, bool) error { return errNoNetwork() }

// TransportTypes implements api.Visor.
func (v *Visor) TransportTypes(context.Context) ([]api.TransportType, error) {
	return nil, errNoNetwork()
}

// AutoTransports implements api.Visor.
func (v *Visor) AutoTransports(context.Context) (api.Auto, error) { return api.Auto{}, errNoNetwork() }

// SetAutoTransports implements api.Visor.
func (v *Visor) SetAutoTransports(context.Context, bool, bool) error { return errNoNetwork() }

// Find implements api.Visor.
func (v *Visor) Find(context.Context, api.FindSpec) ([]api.Path, error) { return nil, errNoNetwork() }

// Connect implements api.Visor.
func (v *Visor) Connect(context.Context, api.ConnectSpec) ([]api.Path, error) {
	return nil, errNoNetwork()
}

// Disconnect implements api.Visor.
func (v *Visor) Disconnect(context.Context, cipher.PubKey) error { return errNoNetwork() }

// Active implements api.Visor.
func (v *Visor) Active(context.Context) ([]api.Path, error) { return nil, errNoNetwork() }

// Trace implements api.Visor.
func (v *Visor) Trace(context.Context, api.ConnectSpec) ([]api.TraceHop, error) {
	return nil, errNoNetwork()
}

// Health implements api.Visor.
func (v *Visor) Health(context.Context) ([]api.ServiceHealth, error) { return nil, errNoNetwork() }

// Registered implements api.Visor.
func (v *Visor) Registered(context.Context, api.ServiceQuery) ([]api.RegisteredTransport, error) {
	return nil, errNoNetwork()
}

// Addresses implements api.Visor.
func (v *Visor) Addresses(context.Context, api.ServiceQuery) ([]api.Address, error) {
	return nil, errNoNetwork()
}

// Offers implements api.Visor.
func (v *Visor) Offers(context.Context, api.OfferQuery) ([]api.Offer, error) {
	return nil, errNoNetwork()
}

// Uptimes implements api.Visor.
func (v *Visor) Uptimes(context.Context, api.ServiceQuery) ([]api.Uptime, error) {
	return nil, errNoNetwork()
}

// Doctor implements api.Visor.
func (v *Visor) Doctor(context.Context) (api.Report, error) { return api.Report{}, errNoNetwork() }

// Reload implements api.Visor.
func (v *Visor) Reload(context.Context) (api.Reloaded, error) { return api.Reloaded{}, errNoNetwork() }

// Halt implements api.Visor.
func (v *Visor) Halt(context.Context) error { return errNoNetwork() }

// SetLogLevel implements api.Visor.
func (v *Visor) SetLogLevel(context.Context, string) error { return errNoNetwork() }

// Pass implements api.Visor.
func (v *Visor) Pass(context.Context, cipher.PubKey, api.Call) (api.Answer, error) {
	return api.Answer{}, errNoNetwork()
}
