package transport

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/transport/ice"
)

// bindEvery is how often addresses are told where the resolver gives no time, ± 50 %; else
// it is a third of that.
const bindEvery = time.Minute

// serviceAddr is where the visor is as a public one.
func (m *Manager) serviceAddr() deployment.ServiceAddr {
	return deployment.ServiceAddr{PK: m.pk, Port: SettlePort}
}

// bind keeps the visor's address in the resolver, and a public visor in the service
// discovery, until ctx ends.
func (d *member) bind(ctx context.Context) {
	if d.AR == nil || !d.m.plane.tcp().IsValid() {
		return
	}
	failures := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.moved:
		case <-timer.C:
		}
		bound, err := d.bindOnce(ctx)
		if err == nil {
			err = d.list(ctx, bound)
		}
		pause := jitter(bindEvery)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, deployment.ErrDuplicateKey):
			pause = quarantine
		case err != nil:
			pause = backOff(serviceFirst, serviceMost, failures)
			failures++
		default:
			failures = 0
			if bound.TTL > 0 {
				pause = min(pause, max(time.Duration(bound.TTL)*time.Second/3, time.Second))
			}
		}
		timer.Reset(pause)
	}
}

// bindOnce tells the resolver where the visor listens.
func (d *member) bindOnce(ctx context.Context) (bound deployment.Bound, err error) {
	listen := d.m.plane.tcp()
	b := deployment.Bind{Port: listen.Port()}
	own, err := ice.Gather(netip.AddrPortFrom(listen.Addr(), listen.Port()), nil)
	if err == nil {
		for _, c := range own {
			b.Addresses = append(b.Addresses, c.Addr.Addr().String())
		}
		err = d.call(ctx, func(ctx context.Context) error {
			bound, err = d.AR.Bind(ctx, d.m.cfg.Instance, b)
			return err
		})
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if ctx.Err() == nil {
		d.changedErr(&d.arErr, err, "address resolver does not take our address")
	}
	if err == nil {
		d.bound = bound
	}
	return bound, err
}

// list lists a public visor that the resolver has reached, and takes it out when it is none
// any more.
func (d *member) list(ctx context.Context, bound deployment.Bound) error {
	d.m.mu.Lock()
	public, listed := d.m.settings.Public && bound.Reachable, d.listed
	d.m.mu.Unlock()
	if d.SD == nil || !public && !listed {
		return nil
	}
	err := d.call(ctx, func(ctx context.Context) error {
		if !public {
			return d.SD.Delete(ctx, d.m.serviceAddr(), deployment.ServiceVisor)
		}
		s := deployment.Service{Address: d.m.serviceAddr(), Type: deployment.ServiceVisor, Version: d.m.cfg.Version}
		if bound.RemoteAddr.IsValid() {
			s.LocalIPs = []string{bound.RemoteAddr.Addr().String()}
		}
		_, err := d.SD.Register(ctx, s)
		return err
	})
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if ctx.Err() == nil {
		d.changedErr(&d.sdErr, err, "service discovery does not list this public visor")
	}
	if err == nil {
		d.listed = public
	}
	return err
}

// changedErr notes an error, and says so once. mu is held.
func (d *member) changedErr(was *error, err error, what string) {
	if err != nil && *was == nil {
		d.m.log.Warn().Err(err).Str("deployment", d.Name).Msg(what)
	}
	*was = err
}
