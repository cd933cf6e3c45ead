package services

import (
	"context"
	"fmt"
	"net"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
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

// setupNode runs a setup node alone until ctx ends.
func (c *Command) setupNode(ctx context.Context, sk cipher.SecKey, d disc.Directory, log zerolog.Logger) error {
	client, err := newClient(sk, d, log)
	if err != nil {
		return err
	}
	log.Info().Stringer("pk", client.PubKey()).Int("port", setup.NodePort).Msg("setup node is up")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return client.Run(ctx) })
	g.Go(func() error { return serveSetup(ctx, client, log) })
	return g.Wait()
}
