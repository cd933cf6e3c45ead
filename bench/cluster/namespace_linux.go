package cluster

import (
	"context"
	"io"
	"net"
	"os"
	"time"

	"github.com/skyminer/skywire/bench/topo"
)

// dialTimeout bounds Dial of a Place in a namespace: whoever is there answers at
// once, and nobody answers for whoever is not.
const dialTimeout = 3 * time.Second

// In makes a network namespace a Place, where visors listen on port 7777.
func In(ns *topo.Namespace, name string) Place {
	return Place{
		Name:   name,
		Listen: "[::]:7777",
		Command: func(ctx context.Context, out, errw io.Writer, name string, args ...string) Process {
			cmd := ns.Command(ctx, name, args...)
			cmd.Stdout, cmd.Stderr = out, errw
			return inside{cmd}
		},
		Dial: func(addr string) (conn net.Conn, err error) {
			err = ns.Do(func() (err error) {
				conn, err = net.DialTimeout("tcp", addr, dialTimeout)
				return err
			})
			return conn, err
		},
		Open: ns.Listen,
	}
}

// At makes a host of an Internet a Place.
func At(h *topo.Host, name string) Place {
	p := In(h.Namespace, name)
	if h.Kind == topo.NoNAT {
		p.Host = h.Addr.IPv4.Addr().String()
	}
	return p
}

// inside is a topo.Cmd as a Process.
type inside struct{ *topo.Cmd }

func (p inside) Signal(s os.Signal) error { return p.Process.Signal(s) }
func (p inside) PID() int                 { return p.Process.Pid }
