package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// dmsgHTTP is the dmsg port on which services serve HTTP.
const dmsgHTTP = 80

// A server serves a host over TCP and, if it has a key, over dmsg by way of every
// relay that the directory knows.
type server struct {
	host      *httpd.Host
	sk        cipher.SecKey // zero: not over dmsg
	directory disc.Directory
	perKey    int // streams of one key; 0: no limit
	log       zerolog.Logger
	// more, if not nil, is run beside the HTTP server, with the dmsg client (nil: not
	// over dmsg), until ctx ends.
	more func(ctx context.Context, client *dmsg.Client) error
}

// run serves l until ctx ends; up is called once that has begun.
func (s *server) run(ctx context.Context, l net.Listener, up func()) error {
	var client *dmsg.Client
	var over net.Listener
	if !s.sk.IsZero() {
		var err error
		if client, over, err = s.dmsg(); err != nil {
			_ = l.Close()
			return err
		}
	}
	// What calls the services ends before they do.
	hostCtx, stopHost := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHost()
	g, ctx := errgroup.WithContext(ctx)
	hosted := make(chan error, 1)
	ready := make(chan struct{})
	go func() { hosted <- s.host.Run(hostCtx, l, func() { up(); close(ready) }) }()
	g.Go(func() error {
		select {
		case err := <-hosted:
			hosted <- err
			if err == nil {
				err = errors.New("the HTTP server has ended")
			}
			return err
		case <-ctx.Done():
			return nil
		}
	})
	if client != nil {
		g.Go(func() error {
			select {
			case <-ready: // the directory may be one of the services
				return client.Run(ctx)
			case <-ctx.Done():
				return client.Close()
			}
		})
		g.Go(func() error {
			return s.host.ServeDmsg(ctx, httpd.Wrap(over, httpd.ListenOptions{Over: httpd.OverDmsg, PerSource: s.perKey}))
		})
	}
	if s.more != nil {
		g.Go(func() error { return s.more(ctx, client) })
	}
	err := g.Wait()
	stopHost()
	if herr := <-hosted; err == nil {
		err = herr
	}
	return err
}

// newClient returns a dmsg client with the key sk on every relay that d knows.
func newClient(sk cipher.SecKey, d disc.Directory, log zerolog.Logger) (*dmsg.Client, error) {
	c := dmsg.DefaultConfig()
	c.SecKey, c.Directory, c.MinSessions, c.Log = sk, d, dmsg.AllServers, log
	return dmsg.New(c)
}

// dmsg returns a client with the service's key and its listener for HTTP.
func (s *server) dmsg() (*dmsg.Client, net.Listener, error) {
	client, err := newClient(s.sk, s.directory, s.log)
	if err != nil {
		return nil, nil, err
	}
	l, err := client.Listen(dmsgHTTP)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on dmsg: %w", err)
	}
	s.host.SetDmsg(func() httpd.DmsgInfo {
		info := httpd.DmsgInfo{Address: fmt.Sprintf("%s:%d", client.PubKey(), dmsgHTTP)}
		for _, session := range client.Sessions() {
			info.Servers = append(info.Servers, session.Server)
		}
		return info
	})
	s.log.Info().Stringer("pk", client.PubKey()).Int("port", dmsgHTTP).Msg("serving over dmsg")
	return client, l, nil
}

// sayFlags puts flags for what the configuration calls otherwise.
func sayFlags(err error) error {
	var errs []error
	for _, e := range api.Split(err) {
		var p *api.Problem
		if errors.As(e, &p) {
			e = fmt.Errorf("--%s %s", strings.ReplaceAll(p.Path, "_", "-"), p.Text)
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}
