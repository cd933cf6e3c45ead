// Package visor is the daemon: it puts the floors of the data plane together with
// a configuration, the apps and the local API.
package visor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/apps/skynet"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Options are what a Visor is made from. All but SetLevel are required.
type Options struct {
	Config    config.Config
	File      string // where Config was read; changes are saved there
	SecretKey cipher.SecKey
	Version   string
	Log       zerolog.Logger
	// SetLevel sets what Log writes: debug, info, warn or error. Nil is a log whose
	// level is fixed.
	SetLevel func(level string)
}

// A Visor is a running daemon. It implements api.Visor.
type Visor struct {
	opt      Options
	pk       cipher.PubKey
	log      zerolog.Logger
	started  time.Time
	plane    plane
	network  *network
	ways     ways // nil where routes are set by hand
	forwards *skynet.Service
	remote   *dmsghttp.Transport // to visors that are commanded from here
	socket   net.Listener
	metrics  net.Listener // nil where they are served nowhere
	wanted   wanted
	current  atomic.Pointer[config.Config] // what is in force
	halt     context.CancelFunc            // set by Run

	saving sync.Mutex // held while the configuration file is changed
}

// config returns the configuration that is in force. It is not to be changed.
func (v *Visor) config() *config.Config { return v.current.Load() }

var _ api.Visor = (*Visor)(nil)

// newVisor makes a Visor over any data plane. n may be nil: no network at all.
func newVisor(opt Options, p plane, n *network) (*Visor, error) {
	pk, err := opt.SecretKey.PubKey()
	if err != nil {
		return nil, err
	}
	if n == nil {
		n = &network{}
		n.admits.Store(newAdmission(&opt.Config))
	}
	v := &Visor{opt: opt, pk: pk, log: opt.Log, started: time.Now(), plane: p, network: n}
	v.current.Store(&opt.Config)
	v.halt = func() {}
	v.remote = dmsghttp.NewTransport(n.dmsg.dial)
	for _, d := range n.dmsg {
		d.plane = p
	}
	if n.router != nil {
		v.ways = n.router
	}
	cfg := skynet.DefaultConfig()
	cfg.Network = appNetwork{p, v.reach}
	cfg.Log = opt.Log.With().Str("app", "skynet").Logger()
	if v.forwards, err = skynet.New(cfg); err != nil {
		return nil, err
	}
	if v.socket, err = api.Listen(conf.Resolve(opt.File, opt.Config.APISocket)); err != nil {
		return nil, err
	}
	if at := opt.Config.Metrics.Addr; at != "" {
		if v.metrics, err = net.Listen("tcp", at); err != nil {
			return nil, errors.Join(fmt.Errorf("visor: metrics.addr: %w", err), v.socket.Close())
		}
	}
	v.wanted.init(p, net.DefaultResolver, opt.Log)
	return v, nil
}

// Run is the visor's life: it returns nil after ctx has ended and everything is
// closed, or the error that it ended with.
func (v *Visor) Run(ctx context.Context) error {
	ctx, v.halt = context.WithCancel(ctx)
	defer v.halt()
	g, ctx := errgroup.WithContext(ctx)
	// The data plane goes when nothing above it is left, and dmsg after that, so that
	// what closes can say goodbye.
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	carrying, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	g.Go(func() error {
		defer leave()
		return v.plane.Run(below)
	})
	relaying, leaveLast := context.WithCancel(context.WithoutCancel(ctx))
	defer leaveLast()
	if r := v.network.relay; r != nil {
		g.Go(func() error { return r.run(relaying) })
	}
	g.Go(func() error {
		defer leaveLast()
		return v.network.dmsg.run(carrying)
	})
	finding := make(chan struct{})
	g.Go(func() error {
		defer close(finding)
		return v.network.run(ctx, v)
	})
	if v.metrics != nil {
		g.Go(func() error { return v.serveMetrics(ctx, v.metrics) })
	}
	g.Go(func() error { return v.answerPings(ctx) })
	v.apply()
	g.Go(func() error { return api.Serve(ctx, v.socket, v, v.log) })
	v.log.Info().Stringer("pk", v.pk).Str("socket", conf.Resolve(v.opt.File, v.opt.Config.APISocket)).Str("version", v.opt.Version).Msg("visor started")
	g.Go(func() error {
		<-ctx.Done()
		v.wanted.close()
		err := v.forwards.Close()
		<-finding // it takes back what it has registered
		v.remote.CloseIdleConnections()
		stop()
		return err
	})
	err := g.Wait()
	v.log.Info().Err(err).Msg("visor stopped")
	return err
}

// apply sets what the configuration asks for. What fails, such as a local port that
// is in use, is logged; the rest goes on.
func (v *Visor) apply() {
	for _, l := range v.opt.Config.Links {
		v.complain(v.wanted.add(l), "link", cmp.Or(l.Addr, l.PK.String()))
	}
	for _, r := range v.opt.Config.Rules {
		v.complain(v.plane.AddRule(r), "rule", r.In.String())
	}
	for _, f := range v.opt.Config.Forwards {
		v.complain(v.forwards.Add(f.ID(), forwardSpec(f)), "forward", f.ID())
	}
}

func (v *Visor) complain(err error, kind, name string) {
	if err != nil {
		v.log.Error().Err(err).Str(kind, name).Msg("the configuration asks for something that does not work")
	}
}

// Status implements api.Visor.
func (v *Visor) Status(context.Context) (api.Status, error) {
	s := api.Status{Deployments: []api.Membership{}, PK: v.pk, Version: v.opt.Version, Started: v.started.UTC().Round(time.Second), Drops: map[string]uint64{}, HeapBytes: heap()}
	v.plane.Status(&s)
	for _, l := range v.linkList() {
		s.Links++
		if l.State == api.LinkUp {
			s.LinksUp++
		}
	}
	for _, r := range v.plane.Routes() {
		if r.Kind != api.RouteDirect {
			s.Rules++
		}
	}
	s.Forwards = len(v.forwards.List())
	v.network.status(&s)
	return s, nil
}

// heap returns the bytes in live and not yet collected objects; unlike
// runtime.ReadMemStats this does not stop the world.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// save has edit change the configuration file, if that is asked for. The change
// itself is done already.
func (v *Visor) save(wanted bool, edit func(*config.Config)) error {
	if !wanted {
		return nil
	}
	v.saving.Lock()
	defer v.saving.Unlock()
	if err := config.Update(v.opt.File, edit); err != nil {
		return api.ErrInternal.With("done, but not saved: %v", err)
	}
	next := clone(v.config())
	edit(next)
	v.current.Store(next)
	return nil
}

// removed ends a call that removes something: with save, edit takes it out of the
// configuration file too. missing is the error if it is not in use; it is none if
// the file had it, or else what was removed without save could not be removed with
// it afterwards.
func (v *Visor) removed(save bool, missing error, edit func(*config.Config)) error {
	if missing == nil {
		return v.save(save, edit)
	}
	if !save || !errors.Is(missing, api.ErrNotFound) {
		return missing
	}
	c, _, err := config.Load(v.opt.File)
	if err != nil {
		return api.ErrInternal.With("%v, and the configuration file cannot be read: %v", missing, err)
	}
	before := entries(c)
	if edit(&c); entries(c) == before {
		return missing
	}
	return v.save(save, edit)
}

// entries returns how many things c lists that can be removed.
func entries(c config.Config) int { return len(c.Links) + len(c.Rules) + len(c.Forwards) }

// notFound makes what one of many was not.
func notFound(kind, name string) error {
	return api.ErrNotFound.With("there is no %s %s", kind, name)
}
