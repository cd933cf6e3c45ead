package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// A row is one line of the table at the end.
type row struct {
	what, path, by string
	result
	show string // in place of the throughput
}

// wait bounds the wait for a transport, a route.
const wait = 30 * time.Second

// pingTimeout is what a visor has to answer while a transport is waited for.
const pingTimeout = 200 * time.Millisecond

// scenes moves the file over every kind of way.
func (d *demo) scenes(ctx context.Context) error {
	d.say("\nDirect: B has a public address")
	if err := d.neighbours(ctx, "A", "B", "direct", api.STCPR, api.SUDPH); err != nil {
		return err
	}
	if d.world.roam != nil {
		d.say("\nHole-punched: D and E both sit behind NATs")
		if err := d.neighbours(ctx, "D", "E", "hole-punched", api.SUDPH); err != nil {
			return err
		}
		d.say("\nRelayed: E moves to a mobile network, whose NAT takes another port for each destination")
		if err := d.world.roam(); err != nil {
			return err
		}
	} else {
		d.say("\nRelayed: E does not tell D its address")
	}
	if err := d.neighbours(ctx, "D", "E", "relayed", api.DMSG); err != nil {
		return err
	}
	d.say("\nThree hops: from A to E, the two visors between learn nothing but their neighbours")
	return d.routed(ctx)
}

// neighbours moves the file from one visor to another over a transport of one of these
// types.
func (d *demo) neighbours(ctx context.Context, from, to, what string, want ...string) error {
	a, b := d.visors[from], d.visors[to]
	r, local, err := d.forward(ctx, from, to)
	if err != nil {
		return err
	}
	defer r.Close() // the scene is over
	typ, start := "", time.Now()
	if err := poll(ctx, fmt.Sprintf("%s has no %s transport to %s", from, want[0], to), func() (bool, error) {
		if _, err := a.Connect(ctx, api.ConnectSpec{PK: b.PK}); err != nil {
			return false, err
		}
		// A link that nobody uses may be dead for ten seconds before anybody knows.
		ping, cancel := context.WithTimeout(ctx, pingTimeout)
		_, _ = a.Ping(ping, b.PK)
		cancel()
		all, err := a.Transports(ctx)
		for _, t := range all {
			if t.PK == b.PK && t.State == api.LinkUp && slices.Contains(want, t.Type) {
				typ = t.Type
				return true, nil
			}
		}
		return false, err
	}); err != nil {
		return err
	}
	if took := time.Since(start); took > time.Second {
		d.say("  After %.1f s they are neighbours", took.Seconds())
	}
	res, err := d.file.send(ctx, a.Place, local, r)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", from, to, err)
	}
	return d.arrived(row{what: what, path: from + "–" + to, by: typ, result: res}, r)
}

// routed moves the file over three hops twice; the second time it kills a hop.
func (d *demo) routed(ctx context.Context) error {
	const minHops = 3
	a, e := d.visors["A"], d.visors["E"]
	r, local, err := d.forward(ctx, "A", "E", "--min-hops", strconv.Itoa(minHops))
	if err != nil {
		return err
	}
	start := time.Now()
	if err := poll(ctx, "A has no route of three hops to E", func() (bool, error) {
		_, err := a.Connect(ctx, api.ConnectSpec{PK: e.PK, Policy: api.RoutePolicy{MinHops: minHops}})
		return err == nil, err
	}); err != nil {
		return errors.Join(err, r.Close())
	}
	setUp := time.Since(start)
	path, err := d.path(ctx)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	d.say("  A route was set up in %.0f ms: %s", float64(setUp.Microseconds())/1e3, d.letters(path))
	res, err := d.file.send(ctx, a.Place, local, r)
	if err != nil {
		return fmt.Errorf("over three hops: %w", err)
	}
	if err := d.arrived(row{what: "three hops", path: d.letters(path), by: types(path), result: res}, r); err != nil {
		return err
	}
	return d.killed(ctx, local, r)
}

// killed moves the file once more, and kills a visor of the route on the way.
func (d *demo) killed(ctx context.Context, local string, r *receiver) error {
	defer r.Close() // the scene is over
	path, err := d.path(ctx)
	if err != nil {
		return err
	}
	before, victim := d.letters(path), d.name(path.Hops[1].To)
	d.say("\nOnce more, and half-way visor %s dies", victim)
	r.received.Store(0)
	r.gap = 0
	killed := make(chan error, 1)
	go func() {
		killed <- poll(ctx, "nothing arrives", func() (bool, error) {
			if r.received.Load() < d.file.size/2 {
				return false, nil
			}
			return true, d.visors[victim].Kill()
		})
	}()
	res, err := d.file.send(ctx, d.visors["A"].Place, local, r)
	if err = errors.Join(err, <-killed); err != nil {
		return fmt.Errorf("while %s died: %w", victim, err)
	}
	d.say("  %s$ kill -9 skyvisor", victim)
	path, err = d.path(ctx)
	if err != nil {
		return err
	}
	d.say("  The file went on %.0f ms later, over %s", float64(res.gap.Microseconds())/1e3, d.letters(path))
	return d.arrived(row{
		what: victim + " killed", path: before + ", then " + d.letters(path), by: types(path), result: res,
		show: fmt.Sprintf("%.2f Gbit/s, a gap of %.0f ms", d.gbps(res), float64(res.gap.Microseconds())/1e3),
	}, r)
}

// forward opens a service at one visor, and a local port for it at another.
func (d *demo) forward(ctx context.Context, from, to string, flags ...string) (*receiver, string, error) {
	d.port++
	port := strconv.Itoa(80 + d.port)
	a, b := d.visors[from], d.visors[to]
	r, err := open(b.Place, d.dir)
	if err != nil {
		return nil, "", err
	}
	local, err := a.Place.Free("127.0.0.1")
	if err == nil {
		_, err = d.ctl(ctx, to, "forward", "add", "--expose", r.Addr().String(), "--port", port, "--allow", a.PK.String())
	}
	if err == nil {
		_, err = d.ctl(ctx, from, append([]string{"forward", "add", "--reach", b.PK.String() + ":" + port, "--local", local}, flags...)...)
	}
	if err != nil {
		return nil, "", errors.Join(err, r.Close())
	}
	return r, local, nil
}

// arrived compares what arrived, and notes it for the table.
func (d *demo) arrived(w row, r *receiver) error {
	if err := d.file.check(r); err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	d.say("  %d MiB arrived in %.2f s; SHA-256 %x… is the same at both ends", d.file.size>>20, w.took.Seconds(), d.file.sum[:8])
	d.rows = append(d.rows, w)
	return nil
}

// path returns the route from A to E that is in use: of several, the one that carried most.
func (d *demo) path(ctx context.Context) (api.Path, error) {
	var best api.Path
	err := poll(ctx, "A has no route to E that is up", func() (bool, error) {
		all, err := d.visors["A"].Active(ctx)
		for _, p := range all {
			up := p.PK == d.visors["E"].PK && p.State == api.PathUp && len(p.Hops) >= 3
			if up && (best.Hops == nil || p.SentBytes > best.SentBytes) {
				best = p
			}
		}
		return best.Hops != nil, err
	})
	return best, err
}

// letters writes a path as A–B–C.
func (d *demo) letters(p api.Path) string {
	var b strings.Builder
	b.WriteString("A")
	for _, h := range p.Hops {
		b.WriteString("–" + d.name(h.To))
	}
	return b.String()
}

// types writes the types of a path's transports.
func types(p api.Path) string {
	all := make([]string, len(p.Hops))
	for i, h := range p.Hops {
		all[i] = h.Type
	}
	return strings.Join(all, " ")
}

func (d *demo) gbps(r result) float64 { return float64(d.file.size) * 8 / r.took.Seconds() / 1e9 }

// table prints the figures.
func (d *demo) table() {
	d.say("")
	w := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "WAY\tPATH\tTRANSPORTS\tROUND TRIP\tTHROUGHPUT")
	for _, r := range d.rows {
		if r.show == "" {
			r.show = fmt.Sprintf("%.2f Gbit/s", d.gbps(r.result))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f ms\t%s\n", r.what, r.path, r.by, float64(r.rtt.Microseconds())/1e3, r.show)
	}
	w.Flush()
	d.say("Each is one TCP connection through port forwarding, encrypted from hop to hop and from end to end.")
	d.say("Round trips are the best of %d on it. All programs share this machine's processors.", echoes)
}

// poll asks until f says yes; what is what is wrong otherwise.
func poll(ctx context.Context, what string, f func() (bool, error)) error {
	for end := time.Now().Add(wait); ; {
		ok, err := f()
		if ok {
			return err
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("%s after %v", what, wait), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond): // polled: it does not tell
		}
	}
}
