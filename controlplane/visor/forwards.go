package visor

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/skyminer/skywire/apps/skynet"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/transport"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Forwards implements api.Visor.
func (v *Visor) Forwards(context.Context) ([]api.Forward, error) {
	infos := v.forwards.List()
	all := make([]api.Forward, 0, len(infos))
	for _, i := range infos {
		spec, err := apiSpec(i.Spec)
		if err != nil {
			return nil, err
		}
		all = append(all, api.Forward{
			ForwardSpec: spec, ID: i.ID, Open: i.Open, Connections: i.Connections, Refused: i.Refused, Failed: i.Failed,
			RecvBytes: i.RecvBytes, SentBytes: i.SentBytes, LastError: i.LastError, LastErrorAt: timeOrNil(i.LastErrorAt),
		})
	}
	return all, nil
}

// AddForward implements api.Visor.
func (v *Visor) AddForward(_ context.Context, spec api.ForwardSpec, save bool) (string, error) {
	id := spec.ID()
	if spec.Expose != "" && spec.UDP && spec.Port == pingPort {
		return "", api.ErrExists.With("UDP port %d is for pings; choose another", pingPort)
	}
	if spec.Expose != "" && !spec.UDP && spec.Port == transport.SettlePort && v.network.transports != nil {
		return "", api.ErrExists.With("TCP port %d is for the settlement of transports; choose another", transport.SettlePort)
	}
	err := v.forwards.Add(id, forwardSpec(spec))
	switch {
	case errors.Is(err, skynet.ErrExists):
		return "", api.ErrExists.With("there is a forward %s already; end it with \"skyctl forward rm %s\"", id, id)
	case errors.Is(err, syscall.EADDRINUSE):
		return "", api.ErrConflict.With("%v", err)
	case err != nil: // the port cannot be opened
		return "", api.ErrBadRequest.With("%v", err)
	}
	return id, v.save(save, func(c *config.Config) { c.Forwards = append(withoutForward(c.Forwards, id), spec) })
}

// RemoveForward implements api.Visor.
func (v *Visor) RemoveForward(_ context.Context, id string, save bool) error {
	var missing error
	if err := v.forwards.Remove(id); err != nil {
		missing = notFound("forward", id)
	}
	return v.removed(save, missing, func(c *config.Config) { c.Forwards = withoutForward(c.Forwards, id) })
}

func withoutForward(specs []api.ForwardSpec, id string) []api.ForwardSpec {
	return slices.DeleteFunc(specs, func(s api.ForwardSpec) bool { return s.ID() == id })
}

// timeOrNil returns t in the API's form: null if it never was.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// forwardSpec and apiSpec translate between the API, which has keys, and the app,
// which sees them as text.
func forwardSpec(s api.ForwardSpec) skynet.Spec {
	spec := skynet.Spec{UDP: s.UDP, Expose: s.Expose, Port: s.Port, Public: s.Public, Reach: s.Reach, Local: s.Local}
	if pk, port, err := api.ParsePeer(s.Reach); err == nil {
		spec.Reach = joinWay(api.Peer(pk, port), s.Route)
	}
	for _, pk := range s.Allow {
		spec.Allow = append(spec.Allow, pk.String())
	}
	return spec
}

func apiSpec(s skynet.Spec) (api.ForwardSpec, error) {
	reach, policy, err := splitWay(s.Reach)
	if err != nil {
		return api.ForwardSpec{}, err
	}
	spec := api.ForwardSpec{UDP: s.UDP, Expose: s.Expose, Port: s.Port, Public: s.Public, Reach: reach, Local: s.Local}
	if !policy.IsZero() {
		spec.Route = &policy
	}
	for _, text := range s.Allow {
		pk, err := cipher.ParsePubKeyText(text)
		if err != nil {
			return api.ForwardSpec{}, err
		}
		spec.Allow = append(spec.Allow, pk)
	}
	return spec, nil
}
