package visor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// healthTimeout is how long a service may take to say how it does.
const healthTimeout = 5 * time.Second

// maxHealth bounds what it says, in bytes.
const maxHealth = 64 << 10

// A service is one of a deployment.
type service struct{ name, url string }

// services returns those that the deployment has.
func (m *member) services() []service {
	var all []service
	for _, s := range []service{
		{"dmsg discovery", m.conf.DmsgDiscovery},
		{"transport discovery", m.conf.TransportDiscovery},
		{"address resolver", m.conf.AddressResolver},
		{"route finder", m.conf.RouteFinder},
		{"service discovery", m.conf.ServiceDiscovery},
		{"uptime tracker", m.conf.UptimeTracker},
	} {
		if s.url != "" {
			all = append(all, s)
		}
	}
	return all
}

// Health implements api.Visor.
func (v *Visor) Health(ctx context.Context) ([]api.ServiceHealth, error) {
	if len(v.network.members) == 0 {
		return nil, errNoNetwork()
	}
	var all []api.ServiceHealth
	var wg sync.WaitGroup
	for _, m := range v.network.members {
		for _, s := range m.services() {
			all = append(all, api.ServiceHealth{Deployment: nameOf(m.conf), Service: s.name, URL: s.url})
		}
	}
	i := 0
	for _, m := range v.network.members {
		for range m.services() {
			h := &all[i]
			i++
			wg.Go(func() { m.health(ctx, h) })
		}
	}
	wg.Wait()
	return all, nil
}

// health asks the service at h.URL how it does.
func (m *member) health(ctx context.Context, h *api.ServiceHealth) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(h.URL, "/")+"/health", nil)
	if err != nil {
		h.Error = err.Error()
		return
	}
	start := time.Now()
	rs, err := m.http.RoundTrip(rq)
	if err != nil {
		h.Error = noHealth(err)
		return
	}
	defer rs.Body.Close()
	body, err := io.ReadAll(io.LimitReader(rs.Body, maxHealth))
	if err != nil {
		h.Error = noHealth(err)
		return
	}
	end := time.Now()
	h.RTTMicros = max(1, end.Sub(start).Microseconds())
	if rs.StatusCode != http.StatusOK {
		h.Error = fmt.Sprintf("it answers with HTTP status %d", rs.StatusCode)
		return
	}
	h.OK = true
	if date, err := http.ParseTime(rs.Header.Get("Date")); err == nil {
		h.SkewMillis = skew(date, start, end).Milliseconds()
	}
	var said struct {
		BuildInfo struct {
			Version string `json:"version"`
		} `json:"build_info"`
	}
	if json.Unmarshal(body, &said) == nil {
		h.Version = said.BuildInfo.Version
	}
}

// skew returns how far a clock that said date, in whole seconds, between start and end
// of ours is ahead; as little as that allows.
func skew(date, start, end time.Time) time.Duration {
	switch {
	case date.After(end):
		return date.Sub(end)
	case date.Add(time.Second).Before(start):
		return date.Add(time.Second).Sub(start)
	}
	return 0
}

// noHealth says why a service gave no answer.
func noHealth(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", healthTimeout)
	}
	return err.Error()
}

// each calls ask for the deployments that name selects, one or all, and returns what
// they found. It fails where all of them do.
func each[T any](v *Visor, name string, ask func(*member) ([]T, error)) ([]T, error) {
	if len(v.network.members) == 0 {
		return nil, errNoNetwork()
	}
	var all []T
	var errs []error
	asked := 0
	for _, m := range v.network.members {
		if name != "" && name != m.conf.Name && name != m.conf.ID.String() {
			continue
		}
		asked++
		found, err := ask(m)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", nameOf(m.conf), err))
		}
		all = append(all, found...)
	}
	switch {
	case asked == 0:
		return nil, api.ErrNotFound.With("this visor is in no deployment %q", name)
	case len(errs) == asked:
		return nil, translateService(errors.Join(errs...))
	}
	return all, nil
}

// errLacks says that a deployment has no such service.
func errLacks(service string) error { return api.ErrNotFound.With("it has no %s", service) }

// translateService gives errors of services the codes of the API.
func translateService(err error) error {
	switch {
	case errors.Is(err, deployment.ErrNotFound), errors.Is(err, api.ErrNotFound):
		return api.ErrNotFound.With("%v", err)
	case errors.Is(err, deployment.ErrBadRequest):
		return api.ErrBadRequest.With("%v", err)
	case errors.Is(err, deployment.ErrForbidden), errors.Is(err, deployment.ErrUnauthorized):
		return api.ErrDenied.With("%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return api.ErrTimeout.With("%v", err)
	}
	return api.ErrUnreachable.With("%v", err)
}

// Registered implements api.Visor.
func (v *Visor) Registered(ctx context.Context, q api.ServiceQuery) ([]api.RegisteredTransport, error) {
	return each(v, q.Deployment, func(m *member) ([]api.RegisteredTransport, error) {
		if m.tpd == nil {
			return nil, errLacks("transport discovery")
		}
		var list []deployment.SignedTransport
		var err error
		if q.PK.IsZero() {
			list, _, err = m.tpd.All(ctx, "")
		} else {
			list, err = m.tpd.Edge(ctx, q.PK)
		}
		all := make([]api.RegisteredTransport, 0, len(list))
		for _, t := range list {
			r := api.RegisteredTransport{Deployment: nameOf(m.conf), ID: text(t.ID), Edges: t.Edges[:], Type: t.Type, Label: t.Label}
			if t.Registered != 0 {
				at := time.Unix(t.Registered, 0).UTC()
				r.Registered = &at
			}
			if t.Stats != nil {
				r.RTTMicros, r.LossPPM, r.Mbps = t.Stats.RTTMicros, t.Stats.LossPPM, t.Stats.Mbps
			}
			all = append(all, r)
		}
		slices.SortFunc(all, func(a, b api.RegisteredTransport) int { return strings.Compare(a.ID, b.ID) })
		return all, err
	})
}

// Addresses implements api.Visor.
func (v *Visor) Addresses(ctx context.Context, q api.ServiceQuery) ([]api.Address, error) {
	pk := q.PK
	if pk.IsZero() {
		pk = v.pk
	}
	return each(v, q.Deployment, func(m *member) ([]api.Address, error) {
		if m.ar == nil {
			return nil, errLacks("address resolver")
		}
		a := api.Address{Deployment: nameOf(m.conf), PK: pk, Local: []string{}}
		r, err := m.ar.Resolve(ctx, pk)
		switch {
		case errors.Is(err, deployment.ErrNotFound):
			a.Error = "it knows no address of that key"
			return []api.Address{a}, nil
		case err != nil:
			return nil, err
		}
		if r.RemoteAddr.IsValid() {
			a.Remote = r.RemoteAddr.String()
		}
		for _, l := range r.Addresses {
			a.Local = append(a.Local, l.String())
		}
		return []api.Address{a}, nil
	})
}

// Offers implements api.Visor.
func (v *Visor) Offers(ctx context.Context, q api.OfferQuery) ([]api.Offer, error) {
	return each(v, q.Deployment, func(m *member) ([]api.Offer, error) {
		if m.sd == nil {
			return nil, errLacks("service discovery")
		}
		list, err := m.sd.Services(ctx, deployment.Filter{Type: q.Type, Country: q.Country, Quantity: q.Count})
		var all []api.Offer
		for _, s := range list {
			o := api.Offer{Deployment: nameOf(m.conf), Address: api.Peer(s.Address.PK, s.Address.Port), Type: s.Type, Version: s.Version}
			if s.Geo != nil {
				o.Country, o.Region = s.Geo.Country, s.Geo.Region
			}
			all = append(all, o)
		}
		slices.SortStableFunc(all, func(a, b api.Offer) int {
			return cmp.Or(strings.Compare(a.Country, b.Country), strings.Compare(a.Address, b.Address))
		})
		return all, err
	})
}

// Uptimes implements api.Visor.
func (v *Visor) Uptimes(ctx context.Context, q api.ServiceQuery) ([]api.Uptime, error) {
	var uq deployment.UptimeQuery
	if !q.PK.IsZero() {
		uq.Visors = []cipher.PubKey{q.PK}
	}
	return each(v, q.Deployment, func(m *member) ([]api.Uptime, error) {
		if m.ut == nil {
			return nil, errLacks("uptime tracker")
		}
		list, err := m.ut.Uptimes(ctx, uq)
		var all []api.Uptime
		for _, u := range list {
			all = append(all, api.Uptime{Deployment: nameOf(m.conf), PK: u.PK, Online: u.On, Percent: u.Pct, Version: u.Version})
		}
		return all, err
	})
}
