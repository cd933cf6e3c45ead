package services

import (
	"context"
	"fmt"
	"net"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/setup"
)

// serveSetup runs a setup node with the key of client until ctx ends.
func serveSetup(ctx context.Context, client *dmsg.Client, log zerolog.Logger) error {
	transport := dmsghttp.NewTransport(func(ctx context.Context, to proto.Addr) (net.Conn, error) { return client.Dial(ctx, to) })
	defer transport.CloseIdleConnections()
	node, err := setup.NewNode(setup.NodeConfig{Key: client.PubKey(), Transport: transport, Limits: setup.DefaultNodeLimits(), Log: log})
	if err != nil {
		return err
	}
	l, err := client.Listen(setup.NodePort)
	if err != nil {
		return fmt.Errorf("setup node: %w", err)
	}
	return node.Serve(ctx, l)
}
