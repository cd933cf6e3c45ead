package scenario

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

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
	cmd *topo.Cmd
	dir string
}

// startVisor runs the skyvisor that stands beside this program in ns, and returns
// when it answers. edit, if not nil, changes its configuration. The caller owes it
// an end.
func startVisor(ctx context.Context, e *run.Env, ns *topo.Namespace, edit func(*config.Config)) (_ *visor, err error) {
	bin := filepath.Dir(e.Self)
	if _, err := os.Stat(filepath.Join(bin, "skyvisor")); err != nil {
		return nil, fmt.Errorf("bench: the daemon must stand beside skybench, \"make build\" puts it there: %w", err)
	}
	v := &visor{}
	if v.dir, err = os.MkdirTemp("", "skybench-visor-"); err != nil {
		return nil, fmt.Errorf("bench: visor: %w", err)
	}
	place := cluster.Place{
		Name:   ns.Name,
		Listen: fmt.Sprintf("[::]:%d", visorPort),
		Command: func(ctx context.Context, log io.Writer, name string, args ...string) cluster.Process {
			v.cmd = ns.Command(ctx, name, args...)
			v.cmd.Stdout, v.cmd.Stderr = log, log
			return v.cmd
		},
		Dial: func(addr string) (c net.Conn, err error) {
			err = ns.Do(func() error {
				c, err = net.Dial("tcp", addr)
				return err
			})
			return c, err
		},
		Open: ns.Listen,
	}
	if v.Visor, err = cluster.Start(ctx, place, bin, v.dir, edit); err != nil {
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
