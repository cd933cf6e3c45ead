package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// landTimeout bounds each wait while visors find each other.
const landTimeout = 30 * time.Second

// A land is an Internet with one deployment, and visors that joined it: the real
// programs, each at a host of its own.
type land struct {
	in       *topo.Internet
	services *cluster.Deployment

	bin, dir string
	ends     []func() error // in the order of making
}

// newLand makes a land without visors. The caller owes it an end.
func newLand(ctx context.Context, e *run.Env) (_ *land, err error) {
	l := &land{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.end())
		}
	}()
	if l.bin, err = programs(e, "skyvisor", "skysvc", "skyctl"); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "skybench-land-"); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	l.ends = append(l.ends, func() error { return os.RemoveAll(l.dir) })
	in, stop, err := newInternet(e.Log)
	if err != nil {
		return nil, err
	}
	l.in, l.ends = in, append(l.ends, stop)
	d, end, err := deploy(ctx, e, in)
	if err != nil {
		return nil, err
	}
	l.services, l.ends = d, append(l.ends, end)
	return l, nil
}

// end stops all programs and removes everything.
func (l *land) end() error {
	var errs []error
	for _, f := range slices.Backward(l.ends) {
		errs = append(errs, f())
	}
	l.ends = nil
	return errors.Join(errs...)
}

// visors starts one visor for each name, all at once, and returns when they are online.
// edit changes the configuration of the one with that name.
func (l *land) visors(ctx context.Context, names []string, edit func(name string, c *config.Config)) ([]*cluster.Visor, error) {
	all := make([]*cluster.Visor, len(names))
	places := make([]cluster.Place, len(names))
	for i, name := range names {
		h, err := l.in.Host(name, topo.NoNAT, topo.Wire{})
		if err != nil {
			return nil, err
		}
		places[i] = cluster.At(h, name)
	}
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() (err error) {
			change := func(c *config.Config) {
				c.LogLevel = "warn"
				if edit != nil {
					edit(name, c)
				}
			}
			all[i], err = cluster.Join(ctx, places[i], l.bin, filepath.Join(l.dir, name), []string{l.services.URL}, change)
			return err
		})
	}
	err := g.Wait()
	for _, v := range all {
		if v != nil {
			l.ends = append(l.ends, v.Stop)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if err := online(ctx, v); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// online returns when others can reach a visor by its key.
func online(ctx context.Context, v *cluster.Visor) error {
	ctx, cancel := context.WithTimeout(ctx, landTimeout)
	defer cancel()
	return poll(ctx, func() bool {
		s, err := v.Status(ctx)
		return err == nil && len(s.Deployments) > 0 && s.Deployments[0].Dmsg.Reachable
	})
}

// join makes a transport between two visors, and returns when it is registered.
func join(ctx context.Context, a, b *cluster.Visor, typ string) error {
	if _, err := a.AddTransport(ctx, api.TransportSpec{PK: b.PK, Type: typ}, false); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, landTimeout)
	defer cancel()
	err := poll(ctx, func() bool {
		all, err := a.Transports(ctx)
		if err != nil {
			return false
		}
		for _, t := range all {
			if t.PK == b.PK && len(t.Registered) > 0 {
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("bench: the transport %s–%s is not registered: %w", a.Place.Name, b.Place.Name, err)
	}
	return nil
}
