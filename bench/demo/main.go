// Demo shows what Skywire does, in a minute: a private network of five visors that
// assembles itself around one deployment, and moves files over every kind of way
// there is. "make demo" runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func main() {
	bin := flag.String("bin", "bin", "folder with skyvisor, skyctl, skysvc and skydmsg")
	size := flag.Int64("mb", 64, "size of the file in MiB")
	keep := flag.Bool("keep", false, "keep the folder with all logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait for the cleaning up
	w, err := newWorld()
	if err == nil {
		err = run(ctx, os.Stdout, *bin, *size<<20, w, *keep)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// A demo is one run.
type demo struct {
	out   io.Writer
	bin   string
	dir   string // of this run, removed at its end
	world *world
	file  *file

	services *cluster.Deployment
	relay    *cluster.Relay
	visors   map[string]*cluster.Visor // by name
	port     int                       // of the last scene
	rows     []row
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// run shows it all in w, which it closes.
func run(ctx context.Context, out io.Writer, bin string, size int64, w *world, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "skydemo")
	if err != nil {
		return errors.Join(err, w.close())
	}
	d := &demo{out: out, bin: bin, dir: dir, world: w, visors: make(map[string]*cluster.Visor)}
	defer func() {
		err = errors.Join(err, d.end(), w.close())
		if keep {
			d.say("All logs are in %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	d.say("%s", w.about)
	if d.file, err = newFile(dir, size); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.assemble(ctx); err != nil {
		return err
	}
	if err := d.scenes(ctx); err != nil {
		return err
	}
	d.table()
	return nil
}

// start starts deployment, relay and visors.
func (d *demo) start(ctx context.Context) (err error) {
	w := d.world
	d.say("\nOne deployment and one relay, then five visors that know nothing but the deployment's address")
	if d.services, err = cluster.Deploy(ctx, w.services, d.bin, filepath.Join(d.dir, "services"), cluster.NoRelay); err != nil {
		return err
	}
	d.say("  services$ skysvc all")
	if d.relay, err = cluster.StartRelay(ctx, w.relay, d.bin, filepath.Join(d.dir, "relay"), d.services); err != nil {
		return err
	}
	d.say("  relay$ skydmsg run --discovery %s --public-addr …", d.services.Conf.DmsgDiscovery)
	d.say("  A…E$ skyctl config gen --deployment %s    (B and C: --public)", d.services.URL)
	d.say("  A…E$ skyvisor")
	for i, name := range names {
		dir := filepath.Join(d.dir, name)
		v, err := cluster.Prepare(ctx, w.visors[i], d.bin, dir, []string{d.services.URL}, func(c *config.Config) { d.edit(name, c) })
		if err != nil {
			return fmt.Errorf("visor %s: %w", name, err)
		}
		d.visors[name] = v
	}
	var g errgroup.Group
	for name, v := range d.visors {
		g.Go(func() error {
			if err := v.Restart(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("visor %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// edit is what the demo changes in a configuration.
func (d *demo) edit(name string, c *config.Config) {
	c.Transport.Public = name == "B" || name == "C"
	if d.world.roam == nil && name == "E" {
		// Without NATs, E is one who keeps his address from D.
		c.ListenTCP = ""
		c.Transport.Accept = config.AcceptList
		for _, other := range []string{"A", "B", "C"} {
			c.Transport.Allow = append(c.Transport.Allow, d.visors[other].PK)
		}
	}
}

// end stops whatever runs.
func (d *demo) end() error {
	var errs []error
	for _, v := range d.visors {
		errs = append(errs, v.Stop())
	}
	if d.services != nil {
		errs = append(errs, d.services.Stop())
	}
	if d.relay != nil { // the last, for it waits for its clients
		errs = append(errs, d.relay.Stop())
	}
	return errors.Join(errs...)
}

// assembleTimeout is how long the visors may take to find each other.
const assembleTimeout = 30 * time.Second

// assemble waits until each visor has transports to two others that others may use.
func (d *demo) assemble(ctx context.Context) error {
	start := time.Now()
	for {
		short := ""
		types := make(map[string]int)
		for _, name := range names {
			all, err := d.visors[name].Transports(ctx)
			if err != nil {
				return err
			}
			n := 0
			for _, t := range all {
				if t.State != api.LinkUp || len(t.Registered) == 0 {
					continue
				}
				n++
				if d.name(t.PK) > name {
					types[t.Type]++ // each once
				}
			}
			if n < 2 {
				short = name
			}
		}
		if short == "" {
			d.say("  After %.1f s they have made %d transports by themselves: %s", time.Since(start).Seconds(), sum(types), describe(types))
			return nil
		}
		if time.Since(start) > assembleTimeout {
			return fmt.Errorf("visor %s has not found two others within %v:\n%s", short, assembleTimeout, d.visors[short].Log())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond): // polled: it does not tell
		}
	}
}

// describe writes numbers of transports by type.
func describe(types map[string]int) string {
	var parts []string
	for _, t := range []struct{ typ, what string }{
		{api.STCPR, "direct over TCP"}, {api.SUDPH, "hole-punched over UDP"}, {api.DMSG, "by way of the relay"},
	} {
		if n := types[t.typ]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", n, t.what, t.typ))
		}
	}
	return strings.Join(parts, ", ")
}

func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}

// name returns the name of the visor with a key.
func (d *demo) name(pk cipher.PubKey) string {
	for name, v := range d.visors {
		if v.PK == pk {
			return name
		}
	}
	return pk.String()
}

// ctl runs skyctl on a visor, and shows it, with names for keys.
func (d *demo) ctl(ctx context.Context, at string, args ...string) (string, error) {
	shown := strings.Join(args, " ")
	for name, v := range d.visors {
		shown = strings.ReplaceAll(shown, v.PK.String(), "$"+name)
	}
	d.say("  %s$ skyctl %s", at, shown)
	return d.visors[at].Ctl(ctx, args...)
}
