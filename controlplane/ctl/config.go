package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func (p *Program) config() {
	cmd := p.app.Command("config", "Make, check and show configuration files.")
	p.configGen(cmd.Command("gen", "Write a configuration that works as it is: links over UDP and TCP on port 7777 and, with --deployment, membership in a network. Makes a secret key beside it, unless there is one."))
	check := cmd.Command("check", "Say everything that is wrong with a configuration file.")
	file := check.Arg("file", "The file.").Default(config.File()).String()
	p.do(check, func(context.Context) error {
		_, sk, err := config.Load(*file)
		if err != nil {
			return api.ErrBadRequest.With("%v", err)
		}
		pk, err := sk.PubKey()
		if err != nil {
			return err
		}
		return p.print(keyPair{PK: pk, Config: *file}, func() { p.say("%s is fine; the visor's key is %s", *file, pk) })
	})
	show := cmd.Command("show", "Print a configuration file as the visor understands it: with every default, without the secret key.")
	shown := show.Arg("file", "The file.").Default(config.File()).String()
	p.do(show, func(context.Context) error {
		c, _, err := config.Load(*shown)
		if err != nil {
			return api.ErrBadRequest.With("%v", err)
		}
		c.SecretKey = cipher.SecKey{}
		enc := json.NewEncoder(p.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(c)
	})
}

// generated is what config gen prints as JSON.
type generated struct {
	keyPair
	Deployments []memberOf `json:"deployments"`
	Relay       string     `json:"dmsg_server,omitempty"` // of the visor itself, <pk>@host:port
	Kept        []string   `json:"kept"`                  // what stayed of the file that was there
}

// A memberOf names a deployment.
type memberOf struct {
	PK   cipher.PubKey `json:"pk"`
	Name string        `json:"name"`
	// Pinned says that the operator named the key; else it was believed this once.
	Pinned bool `json:"pinned"`
}

// generate makes the configuration that f asks for, and the keys that it needs.
func (p *Program) generate(ctx context.Context, f *genFlags) error {
	if err := vacant(f.out, f.force); err != nil {
		return err
	}
	c := config.Default()
	var g generated
	if err := keep(&c, &g, f); err != nil {
		return err
	}
	if err := f.apply(ctx, &c, &g); err != nil {
		return err
	}
	// Nothing is written unless it is right; the file with the key comes last but one.
	if c.SecretKey.IsZero() {
		c.SecretKeyFile = cmp.Or(c.SecretKeyFile, config.KeyFileName)
	}
	if err := c.Validate(); err != nil {
		return api.ErrBadRequest.With("%v", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.out), 0o700); err != nil {
		return err
	}
	if err := makeKeys(&c, &g, f.out); err != nil {
		return err
	}
	if err := config.Save(f.out, c); err != nil {
		return err
	}
	return p.print(g, func() { p.printGenerated(f, &c, &g) })
}

// keep takes over what regenerating leaves alone: keys always and, unless f begins
// anew, what was added by hand or by commands.
func keep(c *config.Config, g *generated, f *genFlags) error {
	g.Kept = []string{}
	if !f.force {
		return nil
	}
	if _, err := os.Stat(f.out); errors.Is(err, fs.ErrNotExist) {
		return nil // there was none
	}
	old, _, err := config.Load(f.out)
	switch {
	case err != nil && f.fresh:
		return nil // the key is in its own file, or lost already
	case err != nil:
		return api.ErrBadRequest.With("%v\nwhat it says cannot be kept; --fresh begins anew and keeps only %s", err, config.KeyFileName)
	}
	c.SecretKeyFile, c.SecretKey = old.SecretKeyFile, old.SecretKey
	if f.fresh {
		return nil
	}
	c.Links, c.Rules, c.Forwards = old.Links, old.Rules, old.Forwards
	c.Transport.Persistent = old.Transport.Persistent
	c.Management.Allow = old.Management.Allow
	c.Deployments, c.Dmsg = old.Deployments, old.Dmsg
	for _, k := range []struct {
		name string
		n    int
	}{
		{"links", len(c.Links)},
		{"rules", len(c.Rules)},
		{"forwards", len(c.Forwards)},
		{"persistent transports", len(c.Transport.Persistent)},
		{"keys that may manage", len(c.Management.Allow)},
	} {
		if k.n > 0 {
			g.Kept = append(g.Kept, fmt.Sprintf("%d %s", k.n, k.name))
		}
	}
	return nil
}

// makeKeys makes the key files that are not there.
func makeKeys(c *config.Config, g *generated, path string) (err error) {
	g.Config = path
	if c.SecretKeyFile != "" {
		g.PK, err = haveKey(conf.Resolve(path, c.SecretKeyFile))
	} else {
		g.PK, err = c.SecretKey.PubKey()
	}
	if err != nil || c.DmsgServer == nil {
		return err
	}
	relay, err := haveKey(conf.Resolve(path, c.DmsgServer.SecretKeyFile))
	if err != nil {
		return err
	}
	own := config.Server{PK: relay, Addr: c.DmsgServer.PublicAddress}
	g.Relay = own.String()
	pin(c, own)
	return nil
}

// pin adds a relay to those that the visor uses whatever a discovery says: those of its
// first deployment, for a relay keeps but one session for a key.
func pin(c *config.Config, s config.Server) {
	if len(c.Deployments) > 0 {
		d := &c.Deployments[0]
		if text := s.String(); !slices.Contains(d.DmsgServers, text) {
			d.DmsgServers = append(d.DmsgServers, text)
		}
		return
	}
	if c.Dmsg == nil {
		c.Dmsg = &config.Dmsg{}
	}
	if !slices.Contains(c.Dmsg.Servers, s) {
		c.Dmsg.Servers = append(c.Dmsg.Servers, s)
	}
}

func (p *Program) printGenerated(f *genFlags, c *config.Config, g *generated) {
	p.say("wrote %s", f.out)
	for _, k := range g.Kept {
		p.say("kept %s", k)
	}
	p.say("this visor's key, its address for others, is\n  %s", g.PK)
	for _, d := range g.Deployments {
		p.say("it joins the deployment %q, whose key is\n  %s", clean(d.Name), d.PK)
		if !d.Pinned {
			p.say("  (believed this once; compare it, or name it with --deployment-key)")
		}
	}
	if g.Relay != "" {
		p.say("it runs a relay; others use it too with\n  skyctl config gen --dmsg-server %s", g.Relay)
	}
	if c.SetupNode {
		p.say("it sets up routes for those who trust it with\n  skyctl config gen --setup-node %s", g.PK)
	}
	run := "skyvisor"
	if f.out != config.File() {
		run = fmt.Sprintf("skyvisor --config %s", f.out)
	}
	p.say("start it with\n  %s", run)
	if socket := conf.Resolve(f.out, c.APISocket); socket != config.Socket() {
		p.say("and command it with\n  skyctl --socket %s status", socket)
	}
}
