// Package visor is the daemon: it puts the floors of the data plane together with
// a configuration, the apps and the local API.
package visor

import (
	"cmp"
	"context"
	"errors"
	"net"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/apps/skynet"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Options are what a Visor is made from. All are required.
type Options struct {
	Config    config.Config
	File      string // where Config was read; changes are saved there
	SecretKey cipher.SecKey
	Version   string
	Log       zerolog.Logger
}

// A Visor is a running daemon. It implements api.Visor.
type Visor struct {
	opt      Options
	pk       cipher.PubKey
	log      zerolog.Logger
	started  time.Time
	plane    plane
	forwards *skynet.Service
	dmsg     *dmsgNet // nil where the visor is in no dmsg network
	socket   net.Listener
	wanted   wanted

	saving sync.Mutex // held while the configuration file is changed
}

var _ api.Visor = (*Visor)(nil)

// newVisor makes a Visor over any data plane. d may be nil.
func newVisor(opt Options, p plane, d *dmsgNet) (*Visor, error) {
	pk, err := opt.SecretKey.PubKey()
	if err != nil {
		return nil, err
	}
	cfg := skynet.DefaultConfig()
	cfg.Network = appNetwork{p}
	cfg.Log = opt.Log.With().Str("app", "skynet").Logger()
	forwards, err := skynet.New(cfg)
	if err != nil {
		return nil, err
	}
	socket, err := api.Listen(conf.Resolve(opt.File, opt.Config.APISocket))
	if err != nil {
		return nil, err
	}
	v := &Visor{opt: opt, pk: pk, log: opt.Log, started: time.Now(), plane: p, forwards: forwards, dmsg: d, socket: socket}
	if d != nil {
		d.plane = p
	}
	v.wanted.init(p, net.DefaultResolver, opt.Log)
	return v, nil
}

// Run is the visor's life: it returns nil after ctx has ended and everything is
// closed, or the error that it ended with.
func (v *Visor) Run(ctx context.Context) error {
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
	if v.dmsg != nil {
		g.Go(func() error { return v.dmsg.run(carrying) })
	}
	g.Go(func() error { return v.answerPings(ctx) })
	v.apply()
	g.Go(func() error { return api.Serve(ctx, v.socket, v, v.log) })
	v.log.Info().Stringer("pk", v.pk).Str("socket", conf.Resolve(v.opt.File, v.opt.Config.APISocket)).Str("version", v.opt.Version).Msg("visor started")
	g.Go(func() error {
		<-ctx.Done()
		v.wanted.close()
		err := v.forwards.Close()
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
	s := api.Status{PK: v.pk, Version: v.opt.Version, Started: v.started.UTC().Round(time.Second), Drops: map[string]uint64{}, HeapBytes: heap()}
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
	if v.dmsg != nil {
		s.Dmsg = v.dmsg.status()
	}
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
