package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Visor is a running skyvisor. Its methods are not for concurrent use, except Ctl
// and those of its Client.
type Visor struct {
	*Program
	*api.Client
	PK   cipher.PubKey
	File string // its configuration

	bin string
}

// Start makes a key and a configuration in dir, runs skyvisor from the folder bin,
// and returns when it answers. edit, if not nil, changes the configuration. A visor
// like that knows nobody; see Join.
func Start(ctx context.Context, place Place, bin, dir string, edit func(*config.Config)) (*Visor, error) {
	_, sk := cipher.GenerateKeyPair()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := cipher.SaveSecKey(filepath.Join(dir, config.KeyFileName), sk); err != nil {
		return nil, err
	}
	c := config.Default()
	c.SecretKeyFile = config.KeyFileName
	c.ListenUDP, c.ListenTCP = place.Listen, place.Listen
	v, err := newVisor(place, bin, dir, c, edit)
	if err != nil {
		return nil, err
	}
	return v, v.Restart(ctx)
}

// Join is Prepare and Restart: a visor that runs in the deployments with these bootstrap
// URLs.
func Join(ctx context.Context, place Place, bin, dir string, deployments []string, edit func(*config.Config)) (*Visor, error) {
	v, err := Prepare(ctx, place, bin, dir, deployments, edit)
	if err != nil {
		return nil, err
	}
	return v, v.Restart(ctx)
}

// Prepare has skyctl make a key, if there is none, and a configuration in dir that names
// the deployments with these bootstrap URLs. edit, if not nil, changes the configuration.
// Restart runs the visor.
func Prepare(ctx context.Context, place Place, bin, dir string, deployments []string, edit func(*config.Config)) (*Visor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, config.FileName)
	args := []string{"config", "gen", "--out", file}
	for _, url := range deployments {
		args = append(args, "--deployment", url)
	}
	var out, stderr bytes.Buffer
	gen := place.Command(ctx, &out, &stderr, filepath.Join(bin, "skyctl"), args...)
	err := gen.Start()
	if err == nil {
		err = gen.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: skyctl config gen at %s: %w: %s", place.Name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	c, _, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	c.ListenUDP, c.ListenTCP = place.Listen, place.Listen
	return newVisor(place, bin, dir, c, edit)
}

// newVisor saves a configuration and returns a visor that does not run yet.
func newVisor(place Place, bin, dir string, c config.Config, edit func(*config.Config)) (*Visor, error) {
	if edit != nil {
		edit(&c)
	}
	file := filepath.Join(dir, config.FileName)
	if err := config.Save(file, c); err != nil {
		return nil, err
	}
	_, sk, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	pk, err := sk.PubKey()
	if err != nil {
		return nil, err
	}
	return &Visor{
		Program: newProgram(place, bin, dir, "skyvisor", "--config", file),
		Client:  api.NewClient(conf.Resolve(file, c.APISocket)),
		PK:      pk, File: file, bin: bin,
	}, nil
}

// Restart runs a visor that has ended once more, with the same key and what its
// configuration says now, and returns when it answers.
func (v *Visor) Restart(ctx context.Context) error {
	if err := v.start(ctx); err != nil {
		return err
	}
	return v.await(ctx, func(ctx context.Context) error {
		_, err := v.Status(ctx)
		return err
	})
}

// Stop ends the visor, if it still runs, and waits for it.
func (v *Visor) Stop() error {
	v.Close()
	return v.Program.Stop()
}

// Ctl runs skyctl on the visor.
func (v *Visor) Ctl(ctx context.Context, args ...string) (string, error) {
	socket := filepath.Join(v.Dir, config.Default().APISocket)
	var out, stderr bytes.Buffer
	ctl := Loopback(v.Place.Name).Command(ctx, &out, &stderr, filepath.Join(v.bin, "skyctl"), append([]string{"--socket", socket}, args...)...)
	err := ctl.Start()
	if err == nil {
		err = ctl.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("cluster: at %s: skyctl %s: %w: %s", v.Place.Name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), nil
}

// Addr returns where the visor takes links of a type; host is put in the place of an
// unspecified address.
func (v *Visor) Addr(ctx context.Context, typ string, host netip.Addr) (string, error) {
	s, err := v.Status(ctx)
	if err != nil {
		return "", err
	}
	text := s.ListenUDP
	if typ == api.STCPR {
		text = s.ListenTCP
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return "", errors.Join(fmt.Errorf("cluster: visor %s takes no %s links", v.Place.Name, typ), err)
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(host, at.Port())
	}
	return at.String(), nil
}
