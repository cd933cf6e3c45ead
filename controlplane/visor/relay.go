package visor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/daemon"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// relayDrain is how long the clients of the visor's relay have to move when it stops.
const relayDrain = 2 * time.Second

// An ownRelay is the dmsg server inside the visor, with a key of its own.
type ownRelay struct {
	daemon *daemon.Daemon
	pk     cipher.PubKey
	conf   config.DmsgServer
}

// newOwnRelay opens the relay that the configuration asks for; nil is none.
func newOwnRelay(opt *Options) (*ownRelay, error) {
	c := opt.Config.DmsgServer
	if c == nil {
		return nil, nil
	}
	sk, err := haveKey(conf.Resolve(opt.File, c.SecretKeyFile))
	if err != nil {
		return nil, fmt.Errorf("visor: dmsg_server: %w", err)
	}
	pk, err := sk.PubKey()
	if err != nil {
		return nil, fmt.Errorf("visor: dmsg_server: %w", err)
	}
	log := opt.Log.With().Str("part", "relay").Logger()
	d := daemon.Default()
	d.LocalAddress, d.PublicAddress, d.HealthAddress = c.Listen, c.PublicAddress, ""
	d.DrainTimeout = daemon.Duration(relayDrain)
	d.Discovery = discoveryOf(&opt.Config)
	if strings.HasPrefix(d.Discovery, dmsghttp.Scheme+"://") {
		log.Warn().Str("discovery", d.Discovery).Msg("the relay is not listed in a discovery that is reached over dmsg; others have to pin it")
		d.Discovery = ""
	}
	r := &ownRelay{pk: pk, conf: *c}
	if r.daemon, err = daemon.New(daemon.Options{Config: d, SecretKey: sk, Version: opt.Version, Log: log}); err != nil {
		return nil, fmt.Errorf("visor: dmsg_server: %w", err)
	}
	return r, nil
}

// discoveryOf returns where the relay is listed: in the network that pins it.
func discoveryOf(c *config.Config) string {
	if len(c.Deployments) > 0 {
		return c.Deployments[0].DmsgDiscovery
	}
	return cmp.Or(c.Dmsg, &config.Dmsg{}).Discovery
}

// haveKey loads the secret key at path, or makes one if there is none.
func haveKey(path string) (cipher.SecKey, error) {
	sk, err := cipher.LoadSecKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, sk = cipher.GenerateKeyPair()
		err = cipher.SaveSecKey(path, sk)
	}
	return sk, err
}

// run serves until ctx ends.
func (r *ownRelay) run(ctx context.Context) error { return r.daemon.Run(ctx) }

// close closes what does not run.
func (r *ownRelay) close() { r.daemon.Close() }

// status says how the relay does.
func (r *ownRelay) status() *api.OwnRelay {
	now := r.daemon.Snapshot()
	return &api.OwnRelay{PK: r.pk, Listen: r.conf.Listen, PublicAddress: r.conf.PublicAddress, Sessions: now.Sessions, Streams: int(now.Streams)}
}
