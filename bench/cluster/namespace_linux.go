package cluster

import (
	"context"
	"io"
	"net"
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
		Command: func(ctx context.Context, log io.Writer, name string, args ...string) Process {
			cmd := ns.Command(ctx, name, args...)
			cmd.Stdout, cmd.Stderr = log, log
			return cmd
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
