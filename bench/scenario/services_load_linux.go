package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// simAtOnce is how many visors start at once.
const simAtOnce = 64

func servicesRoles() []run.Role { return []run.Role{run.NewRole(servicesLoad, servicesAsk)} }

// A crowd is all visors.
type crowd struct {
	conf     deployment.Conf
	visors   []*simVisor
	requests atomic.Int64

	mu         sync.Mutex
	times      []float64 // of questions to the route finder, in ms
	unanswered int       // of these
	retries    int       // of other calls
}

// put counts one more of what mu guards.
func (c *crowd) put(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// newCrowd makes n visors with servicesDegree transports each, signed by both edges: one
// to the next, so that there is a path between any two, the others to random ones. Of a few
// visors the last may find nobody left to choose, which is an error.
func newCrowd(conf deployment.Conf, n int) (*crowd, error) {
	c := &crowd{conf: conf, visors: make([]*simVisor, n)}
	for i := range c.visors {
		c.visors[i] = newSimVisor(c, i%simShare == 0)
	}
	seen := make(map[deployment.TransportID]bool)
	for i, a := range c.visors {
		at := i + 1
		for range servicesDegree {
			b, t := c.free(a, at, seen)
			if b == nil {
				return nil, fmt.Errorf("services: %d visors are too few for %d transports from each: take %d or more", n, servicesDegree, 4*servicesDegree)
			}
			seen[t.ID] = true
			at = rand.N(n)
			signed := deployment.SignedTransport{Transport: t}
			for edge, pk := range t.Edges {
				sk := a.sk
				if pk == b.pk {
					sk = b.sk
				}
				var err error
				if signed.Signatures[edge], err = cipher.Sign(sk, t.SignedBytes()); err != nil {
					return nil, err
				}
			}
			a.transports, b.transports = append(a.transports, signed), append(b.transports, signed)
		}
	}
	for _, v := range c.visors {
		v.rtt = make([]int64, len(v.transports))
	}
	return c, nil
}

// free returns the first visor, from the one with a number on and around, to which a has no
// transport yet, and that transport; nil if a has one to everybody.
func (c *crowd) free(a *simVisor, at int, seen map[deployment.TransportID]bool) (*simVisor, deployment.Transport) {
	for i := range c.visors {
		b := c.visors[(at+i)%len(c.visors)]
		t := deployment.NewTransport(a.pk, b.pk, deployment.TypeSUDPH, deployment.LabelAutomatic)
		if a != b && !seen[t.ID] {
			return b, t
		}
	}
	return nil, deployment.Transport{}
}

// servicesAsk is all visors: it starts them, lets them live, and looks at the deployment.
func servicesAsk(ctx context.Context, cfg servicesConfig, ready func()) (t servicesTotals, err error) {
	c, err := newCrowd(cfg.Conf, cfg.Visors)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	ready()
	begin := time.Now()
	var starting errgroup.Group
	starting.SetLimit(simAtOnce)
	for _, v := range c.visors {
		starting.Go(func() error { return v.start(ctx) })
	}
	if err := starting.Wait(); err != nil {
		return t, err
	}
	t.BootSeconds = time.Since(begin).Seconds()
	if err := c.listed(ctx); err != nil {
		return t, err
	}

	lives, lctx := errgroup.WithContext(ctx)
	lctx, stop := context.WithCancel(lctx)
	for _, v := range c.visors {
		lives.Go(func() error { return v.live(lctx) })
	}
	defer func() { stop(); err = errors.Join(err, lives.Wait()) }()
	for range cfg.Windows {
		w, err := c.look(lctx, cfg)
		if err != nil {
			return t, err
		}
		t.Windows = append(t.Windows, w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Asked = len(c.times); t.Asked == 0 {
		return t, errors.New("services: nobody asked the route finder: more seconds, or more visors")
	}
	at := percentiles(c.times, 50, 99)
	t.P50, t.P99, t.Unanswered, t.Retries = at[0], at[1], c.unanswered, c.retries
	return t, nil
}

// listed makes sure that the transport discovery lists all transports.
func (c *crowd) listed(ctx context.Context) error {
	all, _, err := c.visors[0].tpd.All(ctx, "")
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if want := len(c.visors) * servicesDegree; len(all) != want {
		return fmt.Errorf("services: of %d transports %d are listed", want, len(all))
	}
	return nil
}

// look measures one window.
func (c *crowd) look(ctx context.Context, cfg servicesConfig) (w servicesWindow, err error) {
	before, err := c.count(cfg.PID)
	if err != nil {
		return w, err
	}
	begin := time.Now()
	select {
	case <-ctx.Done():
		return w, context.Cause(ctx)
	case <-time.After(time.Duration(cfg.Seconds * float64(time.Second))):
	}
	after, err := c.count(cfg.PID)
	if err != nil {
		return w, err
	}
	w = servicesWindow{
		Cores:    (after.cpu - before.cpu) / time.Since(begin).Seconds(),
		Requests: int(after.requests - before.requests),
		Asked:    after.asked - before.asked,
		Written:  after.written - before.written,
	}
	r, err := residentBytes(cfg.PID)
	w.Resident = r.all
	return w, err
}

// counts are what only grows.
type counts struct {
	cpu      float64 // s
	written  int64   // bytes
	requests int64
	asked    int
}

// count reads the counts of all visors and of the process that is the deployment.
func (c *crowd) count(pid int) (n counts, err error) {
	if n.cpu, err = cpuOf(pid); err != nil {
		return n, err
	}
	if n.written, err = writtenBy(pid); err != nil {
		return n, err
	}
	n.requests = c.requests.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	n.asked = len(c.times) + c.unanswered
	return n, nil
}

// writtenBy returns the bytes that a process has written to disks: write_bytes of
// proc_pid_io(5).
func writtenBy(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "\nwrite_bytes: ")
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("bench: /proc/<pid>/io: %w", err)
	}
	return n, nil
}

// close ends all visors.
func (c *crowd) close() error {
	var g errgroup.Group
	g.SetLimit(simAtOnce)
	for _, v := range c.visors {
		g.Go(v.close)
	}
	return g.Wait()
}
