package scenario

import (
	"context"
	"fmt"
	"os"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// visorPort is where visors take links.
const visorPort = 7777

// A visor is the real daemon, skyvisor, in a namespace.
type visor struct {
	*cluster.Visor
	dir string
}

// startVisor runs the skyvisor that stands beside this program in ns, and returns
// when it answers. edit, if not nil, changes its configuration. The caller owes it
// an end.
func startVisor(ctx context.Context, e *run.Env, ns *topo.Namespace, edit func(*config.Config)) (_ *visor, err error) {
	bin, err := programs(e, "skyvisor")
	if err != nil {
		return nil, err
	}
	v := &visor{}
	if v.dir, err = os.MkdirTemp("", "skybench-visor-"); err != nil {
		return nil, fmt.Errorf("bench: visor: %w", err)
	}
	if v.Visor, err = cluster.Start(ctx, cluster.In(ns, ns.Name), bin, v.dir, edit); err != nil {
		_ = os.RemoveAll(v.dir)
		return nil, err
	}
	return v, nil
}

// end stops the daemon and removes its files. A nil visor is none.
func (v *visor) end() error {
	if v == nil {
		return nil
	}
	err := v.Stop()
	_ = os.RemoveAll(v.dir) // in the temporary directory; what is left there harms nobody
	return err
}
