package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// NoRelay is the flag of skysvc for a deployment whose relays run elsewhere.
const NoRelay = "--relay-addr="

// A Deployment is a running "skysvc all".
type Deployment struct {
	*Program
	URL  string // of its bootstrap
	Conf deployment.Conf
}

// Deploy runs a deployment at a place that others reach, keeps its data in dir, and
// returns when its bootstrap answers. Where there is a network namespace, it has the
// ports that are its defaults, on loopback free ones. flags go to skysvc; NoRelay is
// one.
func Deploy(ctx context.Context, place Place, bin, dir string, flags ...string) (*Deployment, error) {
	var addrs [3]string // of HTTP, STUN, relay
	for i, port := range []string{"9080", "3478", "8081"} {
		var err error
		if addrs[i], err = place.addr(port); err != nil {
			return nil, err
		}
	}
	args := append([]string{"all", "--dir", dir, "--public-host", place.Host, "--addr", addrs[0], "--stun-addr", addrs[1]}, flags...)
	if !slices.Contains(flags, NoRelay) {
		args = append(args, "--relay-addr", addrs[2])
	}
	d := &Deployment{Program: newProgram(place, bin, dir, "skysvc", args...), URL: "http://" + addrs[0]}
	return d, d.Restart(ctx)
}

// Restart runs a deployment that has ended once more, on what it has stored, and
// returns when its bootstrap answers.
func (d *Deployment) Restart(ctx context.Context) error {
	if err := d.start(ctx); err != nil {
		return err
	}
	client := d.Place.HTTP()
	defer client.CloseIdleConnections()
	return d.await(ctx, func(ctx context.Context) (err error) {
		d.Conf, err = deployment.FetchConf(ctx, d.URL, client.Transport, d.Conf.ID)
		return err
	})
}

// A Relay is a running skydmsg.
type Relay struct {
	*Program
	PK cipher.PubKey

	disc string // its discovery's URL
}

// StartRelay runs a relay at a place that others reach, with a key of its own, and
// returns when the deployment's discovery knows it.
func StartRelay(ctx context.Context, place Place, bin, dir string, d *Deployment) (*Relay, error) {
	pk, sk := cipher.GenerateKeyPair()
	addr, err := place.addr("8081")
	if err != nil {
		return nil, err
	}
	r := &Relay{PK: pk, disc: d.Conf.DmsgDiscovery}
	key := filepath.Join(dir, "relay.key")
	r.Program = newProgram(place, bin, dir, "skydmsg", "run", "--secret-key-file", key,
		"--addr", addr, "--public-addr", addr, "--discovery", r.disc, "--health-addr=")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if err := cipher.SaveSecKey(key, sk); err != nil {
		return nil, err
	}
	return r, r.Restart(ctx)
}

// Restart runs a relay that has ended once more, and returns when the discovery knows it.
func (r *Relay) Restart(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	client := r.Place.HTTP()
	defer client.CloseIdleConnections()
	return r.await(ctx, func(ctx context.Context) error {
		answer, err := client.Get(r.disc + "/dmsg-discovery/entry/" + r.PK.String())
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the discovery answers %s", answer.Status)
		}
		return nil
	})
}
