package ctl

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// policyFlags adds the flags that say which way a stream is to take.
func policyFlags(cmd *kingpin.CmdClause) *api.RoutePolicy {
	var r api.RoutePolicy
	cmd.Flag("min-hops", "At least so many hops; 1 lets a direct link do, from 3 on no visor on the way sees both ends. Default: the visor's configuration.").PlaceHolder("N").IntVar(&r.MinHops)
	cmd.Flag("max-hops", "At most so many.").PlaceHolder("N").IntVar(&r.MaxHops)
	cmd.Flag("mux-routes", "Spread over so many routes that share no visor.").PlaceHolder("N").IntVar(&r.MuxRoutes)
	cmd.Flag("avoid", "A visor not to pass. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&r.Avoid})
	cmd.Flag("prefer", "A visor to pass if possible. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&r.Prefer})
	return &r
}

// checkPolicy says everything that is wrong with r, in flags.
func checkPolicy(r *api.RoutePolicy) error {
	var lines []string
	for _, e := range api.Split(r.Validate()) {
		lines = append(lines, "--"+strings.ReplaceAll(e.Error(), "_", "-"))
	}
	if len(lines) == 0 {
		return nil
	}
	return api.ErrBadRequest.With("%s", strings.Join(lines, "; "))
}

// routePaths adds the commands about routes that the visor makes by itself.
func (p *Program) routePaths(cmd *kingpin.CmdClause) {
	find := cmd.Command("find", "Find paths to a visor, the best first, without setting them up.")
	policy := policyFlags(find)
	count := find.Flag("count", "How many paths.").Short('n').Default("3").Int()
	finder := find.Flag("finder", "service (the deployments' route finders) or local (the visor itself); default: the visor's configuration.").Enum(api.FinderService, api.FinderLocal)
	to := keyOf(find.Arg("pk", "The visor's public key.").Required())
	find.Validate(func(*kingpin.CmdClause) error { return checkPolicy(policy) })
	p.call(find, func(ctx context.Context, visor *api.Client) error {
		paths, err := visor.Find(ctx, api.FindSpec{PK: *to, Policy: *policy, Count: *count, Finder: *finder})
		if err != nil {
			return err
		}
		return p.print(paths, func() { p.printPaths(paths, false) })
	})

	add := cmd.Command("add", "Set routes to a visor up now, as the first stream to it would.")
	addPolicy := policyFlags(add)
	addTo := keyOf(add.Arg("pk", "The visor's public key.").Required())
	add.Validate(func(*kingpin.CmdClause) error { return checkPolicy(addPolicy) })
	p.call(add, func(ctx context.Context, visor *api.Client) error {
		paths, err := visor.Connect(ctx, api.ConnectSpec{PK: *addTo, Policy: *addPolicy})
		if err != nil {
			return err
		}
		return p.print(paths, func() {
			if len(paths) == 0 {
				p.say("reached directly; see \"skyctl transport ls\"")
				return
			}
			p.printPaths(paths, true)
		})
	})

	rm := cmd.Command("rm", "Give up the routes to a visor that were set up by themselves. Streams over them end.")
	rmTo := keyOf(rm.Arg("pk", "The visor's public key.").Required())
	p.call(rm, func(ctx context.Context, visor *api.Client) error {
		if err := visor.Disconnect(ctx, *rmTo); err != nil {
			return err
		}
		return p.print(map[string]cipher.PubKey{"pk": *rmTo}, func() { p.say("removed") })
	})

	trace := cmd.Command("trace", "Measure each hop of the route to a visor. Only the visor where the route begins can.")
	tracePolicy := policyFlags(trace)
	traceTo := keyOf(trace.Arg("pk", "The visor's public key.").Required())
	trace.Validate(func(*kingpin.CmdClause) error { return checkPolicy(tracePolicy) })
	p.call(trace, func(ctx context.Context, visor *api.Client) error {
		hops, err := visor.Trace(ctx, api.ConnectSpec{PK: *traceTo, Policy: *tracePolicy})
		if err != nil {
			return err
		}
		return p.print(hops, func() { p.printTrace(hops) })
	})
}

// printPaths prints paths that are in use, or that were found.
func (p *Program) printPaths(paths []api.Path, inUse bool) {
	if !inUse {
		t := newTable("PATH", "HOPS", "COST", "BY")
		for i, path := range paths {
			t.row(strconv.Itoa(i+1), strconv.Itoa(len(path.Hops)), fmt.Sprintf("%.1f", path.Cost), types(path.Hops))
			noteHops(t, path.Hops)
		}
		t.write(p.out, "no path")
		return
	}
	t := newTable("TO", "CLASS", "HOPS", "STATE", "FOR", "RTT", "LOSS", "MBIT/S")
	for _, path := range paths {
		t.row(path.PK.String(), class(path.Class), strconv.Itoa(len(path.Hops)), path.State, since(path.Since), millis(path.RTTMicros), loss(path.LossPPM), mbps(path.Mbps))
		noteHops(t, path.Hops)
	}
	t.write(p.out, "no routes; they are set up when they are needed")
}

// class writes the number of a set of routes.
func class(n uint32) string {
	if n == 0 {
		return dash
	}
	return strconv.FormatUint(uint64(n), 10)
}

// types writes which types of transports a path takes, each once.
func types(hops []api.PathHop) string {
	var all []string
	for _, h := range hops {
		if !slices.Contains(all, h.Type) {
			all = append(all, h.Type)
		}
	}
	return strings.Join(all, ", ")
}

// noteHops adds a line for each hop to the table.
func noteHops(t *table, hops []api.PathHop) {
	for _, h := range hops {
		t.note(fmt.Sprintf("%-5s %s", h.Type, h.To))
	}
}

func (p *Program) printTrace(hops []api.TraceHop) {
	t := newTable("HOP", "VISOR", "BY", "RTT", "MORE")
	before := int64(0)
	for _, h := range hops {
		more := dash
		if h.RTTMicros > 0 && before > 0 {
			more = fmt.Sprintf("%+.2f ms", float64(h.RTTMicros-before)/1000)
		}
		t.row(strconv.Itoa(h.Hop), h.PK.String(), orDash(h.Type), millis(h.RTTMicros), more)
		t.note(clean(h.Error))
		before = h.RTTMicros
	}
	t.write(p.out, "no hops: the visor is reached directly")
}

// loss writes a share in millionths as a percentage.
func loss(ppm int64) string {
	if ppm <= 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.2g %%", float64(ppm)/10_000)
}

// mbps writes a measured rate.
func mbps(rate float64) string {
	switch {
	case rate < 0.05:
		return dash
	case rate < 10:
		return fmt.Sprintf("%.1f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}
