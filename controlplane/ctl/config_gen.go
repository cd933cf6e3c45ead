package ctl

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// bootstrapPort is where "skysvc all" answers.
	bootstrapPort = "9080"
	// bootstrapTimeout is how long a deployment may take to say what it is.
	bootstrapTimeout = 15 * time.Second
)

// genFlags are the flags of config gen.
type genFlags struct {
	out          string
	force, fresh bool

	deployments []string
	pins        []cipher.PubKey
	sessions    int

	udp, tcp       string
	workers        int
	accept         []cipher.PubKey
	persistent     []cipher.PubKey
	auto, public   bool
	transit        bool
	transitMbps    int
	transitRoutes  int
	policy         api.RoutePolicy
	localPaths     bool
	setupNodes     []cipher.PubKey
	servers        []config.Server
	runServer      string
	runServerAt    string
	runSetupNode   bool
	manage         []cipher.PubKey
	metrics, level string
}

func (p *Program) configGen(cmd *kingpin.CmdClause) {
	f := &genFlags{}
	d := config.Default()
	cmd.Flag("out", "The file to write.").Short('o').PlaceHolder("FILE").Default(config.File()).StringVar(&f.out)
	cmd.Flag("force", "Replace the configuration if there is one. Keys, links, rules, forwards, persistent transports and keys that may manage stay, deployments too unless others are named.").BoolVar(&f.force)
	cmd.Flag("fresh", "With --force: only the secret key stays.").BoolVar(&f.fresh)

	cmd.Flag("deployment", "A deployment to join: the URL of its bootstrap service, or just its host, which means http on port "+bootstrapPort+". May be given several times; nothing of one is told to another.").PlaceHolder("URL").StringsVar(&f.deployments)
	cmd.Flag("deployment-key", "The key that this deployment must have; without, the first answer is believed. The first is for the first --deployment, and so on.").PlaceHolder("PK").SetValue(keysValue{&f.pins})
	cmd.Flag("dmsg-sessions", fmt.Sprintf("Relays to stay connected to in each deployment; 0 is %d.", config.DefaultSessions)).PlaceHolder("N").IntVar(&f.sessions)

	cmd.Flag("listen-udp", "Where to take links over UDP, IP:port; empty for nowhere.").PlaceHolder("ADDR").Default(d.ListenUDP).StringVar(&f.udp)
	cmd.Flag("listen-tcp", "Where to take links over TCP, IP:port; empty for nowhere.").PlaceHolder("ADDR").Default(d.ListenTCP).StringVar(&f.tcp)
	cmd.Flag("workers", "Processors to use; 0 is half of the machine's.").PlaceHolder("N").IntVar(&f.workers)

	cmd.Flag("accept", "A key that may ask for direct transports, and so learn this machine's addresses; then no other may. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&f.accept})
	cmd.Flag("persistent", "A visor to which a transport is kept up. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&f.persistent})
	cmd.Flag("auto-transports", "Connect to public visors and to their neighbours without being asked.").Default("true").BoolVar(&f.auto)
	cmd.Flag("public", "Offer this visor to everybody as a public one, if it can be reached.").BoolVar(&f.public)

	cmd.Flag("transit", "Carry routes of others.").Default("true").BoolVar(&f.transit)
	cmd.Flag("transit-mbps", "Mbit/s of all routes of others together; 0 is no limit.").PlaceHolder("N").IntVar(&f.transitMbps)
	cmd.Flag("transit-routes", "Routes of others; 0 is no limit.").PlaceHolder("N").Default(fmt.Sprint(d.Transit.MaxRoutes)).IntVar(&f.transitRoutes)

	cmd.Flag("min-hops", "Hops that a route has at least; 1 lets direct links do, from 3 on no visor on the way sees both ends.").PlaceHolder("N").Default(fmt.Sprint(d.Routing.MinHops)).IntVar(&f.policy.MinHops)
	cmd.Flag("max-hops", "Hops that a route has at most.").PlaceHolder("N").Default(fmt.Sprint(d.Routing.MaxHops)).IntVar(&f.policy.MaxHops)
	cmd.Flag("mux-routes", "Disjoint routes over which streams to one visor are spread.").PlaceHolder("N").Default(fmt.Sprint(d.Routing.MuxRoutes)).IntVar(&f.policy.MuxRoutes)
	cmd.Flag("avoid", "A visor that no route passes. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&f.policy.Avoid})
	cmd.Flag("prefer", "A visor that routes pass if possible. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&f.policy.Prefer})
	cmd.Flag("local-paths", "Find paths in the visor, so that no route finder learns who talks to whom, and it works without one.").BoolVar(&f.localPaths)
	cmd.Flag("setup-node", "A setup node to trust beside those of the deployment. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&f.setupNodes})
	cmd.Flag("run-setup-node", "Set up routes for others, which trust this visor with --setup-node.").BoolVar(&f.runSetupNode)

	cmd.Flag("dmsg-server", "A relay to use whatever the discovery says. May be given several times.").PlaceHolder("PK@HOST:PORT").SetValue(relaysValue{&f.servers})
	cmd.Flag("run-dmsg-server", "Run a relay inside the visor, which others reach at this address.").PlaceHolder("HOST:PORT").StringVar(&f.runServer)
	cmd.Flag("run-dmsg-server-at", "Where that relay listens; the default is all addresses, the same port.").PlaceHolder("IP:PORT").StringVar(&f.runServerAt)

	cmd.Flag("manage-allow", "A visor whose operator may command this one (\"skyctl --visor\"). May be given several times.").PlaceHolder("PK").SetValue(keysValue{&f.manage})
	cmd.Flag("metrics", "Where to serve metrics, IP:port.").PlaceHolder("ADDR").StringVar(&f.metrics)
	cmd.Flag("log-level", "debug, info, warn or error.").Default(d.LogLevel).EnumVar(&f.level, "debug", "info", "warn", "error")
	cmd.Validate(func(*kingpin.CmdClause) error { return f.check() })
	p.do(cmd, func(ctx context.Context) error { return p.generate(ctx, f) })
}

// check says what is wrong with the flags themselves.
func (f *genFlags) check() error {
	switch {
	case f.fresh && !f.force:
		return api.ErrBadRequest.With("--fresh belongs to --force")
	case len(f.pins) > len(f.deployments):
		return api.ErrBadRequest.With("--deployment-key is given more often than --deployment")
	case f.runServerAt != "" && f.runServer == "":
		return api.ErrBadRequest.With("--run-dmsg-server-at belongs to --run-dmsg-server")
	}
	return checkPolicy(&f.policy)
}

// apply sets in c what the flags say, and asks the deployments.
func (f *genFlags) apply(ctx context.Context, c *config.Config, g *generated) error {
	c.ListenUDP, c.ListenTCP, c.Workers, c.LogLevel = f.udp, f.tcp, f.workers, f.level
	c.DmsgSessions = f.sessions
	c.Transport.Auto, c.Transport.Public = f.auto, f.public
	if len(f.accept) > 0 {
		c.Transport.Accept, c.Transport.Allow = config.AcceptList, f.accept
	}
	for _, pk := range f.persistent {
		if !hasPersistent(c.Transport.Persistent, pk) {
			c.Transport.Persistent = append(c.Transport.Persistent, config.Persistent{PK: pk})
		}
	}
	c.Transit = config.Transit{Allow: f.transit, MaxMbps: f.transitMbps, MaxRoutes: f.transitRoutes}
	r := &c.Routing
	r.MinHops, r.MaxHops, r.MuxRoutes, r.Avoid, r.Prefer = f.policy.MinHops, f.policy.MaxHops, f.policy.MuxRoutes, f.policy.Avoid, f.policy.Prefer
	if f.localPaths {
		r.PathFinder = api.FinderLocal
	}
	r.SetupNodes = append(r.SetupNodes, f.setupNodes...)
	if len(f.manage) > 0 {
		c.Management.Allow = f.manage
	}
	c.Metrics.Addr = f.metrics
	c.SetupNode = f.runSetupNode
	if err := f.join(ctx, c, g); err != nil {
		return err
	}
	for _, s := range f.servers {
		pin(c, s)
	}
	return f.relay(c)
}

func hasPersistent(all []config.Persistent, pk cipher.PubKey) bool {
	for _, p := range all {
		if p.PK == pk {
			return true
		}
	}
	return false
}

// join asks the deployments that are named what they are.
func (f *genFlags) join(ctx context.Context, c *config.Config, g *generated) error {
	g.Deployments = []memberOf{}
	if len(f.deployments) > 0 {
		c.Deployments = nil
	}
	for i, at := range f.deployments {
		url, err := bootstrapURL(at)
		if err != nil {
			return err
		}
		var pinned cipher.PubKey
		if i < len(f.pins) {
			pinned = f.pins[i]
		}
		d, err := fetch(ctx, url, pinned)
		if err != nil {
			return api.ErrUnreachable.With("the deployment at %s: %v", url, err)
		}
		c.Deployments = append(c.Deployments, d)
		g.Deployments = append(g.Deployments, memberOf{d.ID, d.Name, !pinned.IsZero()})
	}
	return nil
}

func fetch(ctx context.Context, url string, pinned cipher.PubKey) (deployment.Conf, error) {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	rt := deployment.NewRoundTripper(nil)
	defer rt.CloseIdleConnections()
	return deployment.FetchConf(ctx, url, rt, pinned)
}

// bootstrapURL completes what names a deployment.
func bootstrapURL(at string) (string, error) {
	if strings.Contains(at, "://") {
		return at, nil
	}
	host := strings.TrimSuffix(at, "/")
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), bootstrapPort)
	}
	if strings.ContainsAny(host, "/? ") {
		return "", api.ErrBadRequest.With("--deployment is %q; want a URL like http://host:%s, or a host", at, bootstrapPort)
	}
	return "http://" + host, nil
}

// relay sets the section of the relay inside the visor.
func (f *genFlags) relay(c *config.Config) error {
	if f.runServer == "" {
		return nil
	}
	at := f.runServerAt
	if at == "" {
		_, port, err := net.SplitHostPort(f.runServer)
		if err != nil {
			return api.ErrBadRequest.With("--run-dmsg-server is %q; want the host and port at which others reach the relay", f.runServer)
		}
		at = net.JoinHostPort("::", port)
	}
	c.DmsgServer = &config.DmsgServer{Listen: at, PublicAddress: f.runServer, SecretKeyFile: config.RelayKeyFileName}
	return nil
}

// A relaysValue is a flag that may be given several times, a relay each.
type relaysValue struct{ servers *[]config.Server }

// Set implements kingpin.Value.
func (v relaysValue) Set(s string) error {
	var r config.Server
	if err := r.UnmarshalText([]byte(s)); err != nil {
		return api.ErrBadRequest.With("--dmsg-server: %v", err)
	}
	*v.servers = append(*v.servers, r)
	return nil
}

// String implements kingpin.Value.
func (v relaysValue) String() string { return "" }

// IsCumulative tells kingpin that the flag may be given several times.
func (v relaysValue) IsCumulative() bool { return true }
