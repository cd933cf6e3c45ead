// Demo shows what Skywire does, in a minute: three visors A–B–C move a file over TCP
// from A to C, by public key, through B. "make demo" runs it.
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
	"text/tabwriter"
	"time"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func main() {
	bin := flag.String("bin", "bin", "folder with skyvisor and skyctl")
	size := flag.Int64("mb", 256, "size of the file in MiB")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *bin, *size<<20); err != nil {
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
	rows  []row
}

// A row is one line of the table at the end.
type row struct {
	way  string
	took time.Duration
	rtt  string
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func run(ctx context.Context, out io.Writer, bin string, size int64) (err error) {
	dir, err := os.MkdirTemp("", "skydemo")
	if err != nil {
		return err
	}
	w, err := newWorld()
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, w.close(), os.RemoveAll(dir)) }()
	d := &demo{out: out, bin: bin, dir: dir, world: w}
	d.say("A ───── B ───── C   %s", w.about)
	if d.file, err = newFile(dir, size); err != nil {
		return err
	}
	if err := w.prove(d); err != nil {
		return err
	}
	for _, typ := range []string{api.SUDPH, api.STCPR} {
		if err := d.scene(ctx, typ); err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
	}
	d.table()
	return nil
}

// scene starts three visors, joins them with links of a type, and moves the file.
func (d *demo) scene(ctx context.Context, typ string) (err error) {
	d.say("\nLinks over %s", map[string]string{api.SUDPH: "UDP (sudph)", api.STCPR: "TCP (stcpr)"}[typ])
	var vs [3]*cluster.Visor
	defer func() {
		for _, v := range vs {
			if v != nil {
				err = errors.Join(err, v.Stop())
			}
		}
	}()
	for i, place := range d.world.places {
		if vs[i], err = cluster.Start(ctx, place, d.bin, filepath.Join(d.dir, typ, place.Name), nil); err != nil {
			return err
		}
	}
	a, b, c := vs[0], vs[1], vs[2]
	names := strings.NewReplacer(a.PK.String(), "$A", b.PK.String(), "$B", c.PK.String(), "$C")
	ctl := func(v *cluster.Visor, args ...string) (string, error) {
		d.say("  %s$ skyctl %s", v.Place.Name, names.Replace(strings.Join(args, " ")))
		return v.Ctl(ctx, args...)
	}
	for i, v := range []*cluster.Visor{a, c} {
		addr, err := b.Addr(ctx, typ, d.world.middle[i])
		if err != nil {
			return err
		}
		if _, err := ctl(v, "link", "add", "--type", typ, b.PK.String(), addr); err != nil {
			return err
		}
	}
	hop := func(pk cipher.PubKey, label uint32) string { return api.Hop{Link: pk, Label: label}.String() }
	r, err := open(c.Place, d.dir)
	if err != nil {
		return err
	}
	defer r.Close() // the demo is over
	local, err := a.Place.Free("127.0.0.1")
	if err != nil {
		return err
	}
	steps := []struct {
		at   *cluster.Visor
		args []string
	}{
		{b, []string{"route", "add-rule", "--in", hop(a.PK, 17), "--out", hop(c.PK, 34)}},
		{b, []string{"route", "add-rule", "--in", hop(c.PK, 33), "--out", hop(a.PK, 18)}},
		{a, []string{"route", "add-rule", "--peer", c.PK.String(), "--out", hop(b.PK, 17), "--in", hop(b.PK, 18)}},
		{c, []string{"route", "add-rule", "--peer", a.PK.String(), "--out", hop(b.PK, 33), "--in", hop(b.PK, 34)}},
		{c, []string{"forward", "add", "--expose", r.Addr().String(), "--port", "80", "--allow", a.PK.String()}},
		{a, []string{"forward", "add", "--reach", api.Peer(c.PK, 80), "--local", local}},
	}
	for _, s := range steps {
		if _, err := ctl(s.at, s.args...); err != nil {
			return err
		}
	}
	out, err := ctl(a, "ping", "--count", "5", "--interval", "50ms", c.PK.String())
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	d.say("    %s", lines[len(lines)-1])
	took, err := d.file.send(a.Place, local, r)
	if err != nil {
		return err
	}
	if err := d.file.check(r); err != nil {
		return err
	}
	d.say("  %d MiB from A to C in %.2f s; SHA-256 %x… is the same at both ends", d.file.size>>20, took.Seconds(), d.file.sum[:8])
	if err := d.passedB(ctx, b, a.PK); err != nil {
		return err
	}
	rtt := lines[len(lines)-1]
	if i := strings.Index(rtt, "min "); i >= 0 {
		rtt, _, _ = strings.Cut(rtt[i+4:], ",")
	}
	d.rows = append(d.rows, row{"A–B–C over " + typ, took, rtt})
	return nil
}

// passedB makes sure that the file went through B.
func (d *demo) passedB(ctx context.Context, b *cluster.Visor, from cipher.PubKey) error {
	routes, err := b.Routes(ctx)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Kind == api.RouteForward && r.In.Link == from {
			if r.Bytes < uint64(d.file.size) {
				return fmt.Errorf("visor B forwarded only %d of %d bytes: the file went another way", r.Bytes, d.file.size)
			}
			d.say("  B forwarded %d packets of it, and could read none: A and C have keys that B has not", r.Packets)
			return nil
		}
	}
	return errors.New("visor B has no rule for what A sends")
}

// table prints the figures.
func (d *demo) table() {
	d.say("")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WAY\tGOODPUT\tROUND TRIP (BEST)")
	for _, r := range d.rows {
		fmt.Fprintf(w, "%s\t%.2f Gbit/s\t%s\n", r.way, float64(d.file.size)*8/r.took.Seconds()/1e9, r.rtt)
	}
	w.Flush()
	d.say("One TCP connection through port forwarding, encrypted from hop to hop and from end to end;")
	d.say("three visors and both programs share this machine's processors.")
}
