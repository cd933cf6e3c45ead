package ctl

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) forward() {
	cmd := p.app.Command("forward", "Port forwarding.")
	p.call(cmd.Command("ls", "List the forwards.").Default(), func(ctx context.Context, visor *api.Client) error {
		forwards, err := visor.Forwards(ctx)
		if err != nil {
			return err
		}
		return p.print(forwards, func() { p.printForwards(forwards) })
	})
	p.forwardAdd(cmd.Command("add", "Expose a local service on a port of this visor's key (--expose, --port, and --allow or --public), or reach a port of another key on a local port (--reach, --local)."))

	rm := cmd.Command("rm", "End a forward and its connections.")
	id := rm.Arg("id", "Its name in the list, such as tcp:80 or udp:127.0.0.1:53.").Required().String()
	save := saveFlag(rm)
	p.call(rm, func(ctx context.Context, visor *api.Client) error {
		if err := visor.RemoveForward(ctx, *id, *save); err != nil {
			return err
		}
		return p.removed(*save, map[string]string{"id": *id})
	})
}

func (p *Program) forwardAdd(cmd *kingpin.CmdClause) {
	var s api.ForwardSpec
	cmd.Flag("expose", "The local service, host:port.").PlaceHolder("ADDR").StringVar(&s.Expose)
	cmd.Flag("port", "The port of this visor's key.").PlaceHolder("PORT").SetValue(portValue{&s.Port})
	cmd.Flag("allow", "A key that may connect. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&s.Allow})
	cmd.Flag("public", "Every key may connect.").BoolVar(&s.Public)
	cmd.Flag("reach", "The key and port to reach, PK:PORT.").PlaceHolder("PK:PORT").StringVar(&s.Reach)
	cmd.Flag("local", "The local address to listen on, IP:port.").PlaceHolder("ADDR").StringVar(&s.Local)
	cmd.Flag("udp", "UDP in place of TCP.").BoolVar(&s.UDP)
	policy := policyFlags(cmd)
	save := saveFlag(cmd)
	cmd.Validate(func(*kingpin.CmdClause) error {
		if err := checkPolicy(policy); err != nil {
			return err
		}
		if !policy.IsZero() {
			s.Route = policy
		}
		return forwardFaults(s)
	})
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		id, err := visor.AddForward(ctx, s, *save)
		if err != nil {
			return err
		}
		return p.added(" "+id, *save, map[string]string{"id": id})
	})
}

// forwardFaults says everything that is wrong with s, in flags.
func forwardFaults(s api.ForwardSpec) error {
	faults := api.Split(s.Validate())
	if len(faults) == 0 {
		return nil
	}
	var lines []string
	for _, e := range faults {
		lines = append(lines, "--"+strings.TrimPrefix(e.Error(), ": "))
	}
	return api.ErrBadRequest.With("%s", strings.ReplaceAll(strings.Join(lines, "; "), "--neither", "neither"))
}

// shortPeer writes <pk>:<port> as people tell keys apart; --json has it in full.
func shortPeer(s string) string {
	pk, port, err := api.ParsePeer(s)
	if err != nil {
		return s
	}
	return fmt.Sprintf("%s…:%d", pk.Short(), port)
}

// way says which way a forward takes; "" is that of the visor's configuration.
func way(r *api.RoutePolicy) string {
	if r == nil || r.IsZero() {
		return ""
	}
	var parts []string
	add := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	add(r.MinHops, "at least %d hops")
	add(r.MaxHops, "at most %d hops")
	add(r.MuxRoutes, "over %d routes")
	add(len(r.Avoid), "avoiding %d visors")
	add(len(r.Prefer), "preferring %d visors")
	return strings.Join(parts, ", ")
}

func (p *Program) printForwards(forwards []api.Forward) {
	t := newTable("ID", "KIND", "TO", "WHO", "OPEN", "TOTAL", "REFUSED", "FAILED", "RECEIVED", "SENT")
	for _, f := range forwards {
		kind, to, who := "reach", shortPeer(f.Reach), "this machine"
		if f.Expose != "" {
			kind, to, who = "expose", f.Expose, "everybody"
			if !f.Public {
				who = fmt.Sprintf("%d keys", len(f.Allow))
				if len(f.Allow) == 1 {
					who = f.Allow[0].Short() + "…"
				}
			}
		}
		t.row(f.ID, kind, to, who, strconv.Itoa(f.Open), strconv.FormatUint(f.Connections, 10), strconv.FormatUint(f.Refused, 10),
			strconv.FormatUint(f.Failed, 10), size(f.RecvBytes), size(f.SentBytes))
		t.note(way(f.Route))
		t.note(trouble(f.LastError, f.LastErrorAt))
	}
	t.write(p.out, "no forwards; see \"skyctl forward add --help\"")
}
