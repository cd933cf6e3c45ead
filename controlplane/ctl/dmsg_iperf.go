package ctl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/iperf"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	maxIperfTime    = 5 * time.Minute // of one test, at a server
	maxIperfTests   = 256             // streams at a time, at a server; one key may have a quarter
	maxIperfStreams = 32              // each way, at a client
)

// An iperfFlow is what went one way, over all streams together.
type iperfFlow struct {
	Bytes  uint64  `json:"bytes"`
	Micros int64   `json:"duration_us"`
	Mbps   float64 `json:"mbps"`
}

// An iperfResult is what dmsg iperf prints as JSON; up is away from here.
type iperfResult struct {
	Peer    string          `json:"peer"`
	Streams int             `json:"streams"` // each way
	Relays  []cipher.PubKey `json:"relays"`
	Up      *iperfFlow      `json:"up,omitempty"`
	Down    *iperfFlow      `json:"down,omitempty"`
}

// iperfServed is what dmsg iperf --listen prints as JSON, a line for each stream.
type iperfServed struct {
	Peer      string `json:"peer"`
	Direction string `json:"direction"` // as seen by the peer
	iperfFlow
}

// An iperfClient measures against one peer.
type iperfClient struct {
	n        *dmsgNet
	to       proto.Addr
	dur      time.Duration
	streams  int
	up, down atomic.Uint64 // bytes so far
}

func (p *Program) dmsgIperf(cmd *kingpin.CmdClause, f *dmsgFlags) {
	c := iperfClient{}
	listen := cmd.Flag("listen", "Answer those who measure against this key, until interrupted.").Short('l').Bool()
	port := uint16(iperf.Port)
	cmd.Flag("port", fmt.Sprintf("The port to listen on; %d if nothing else is said.", iperf.Port)).PlaceHolder("PORT").SetValue(portValue{&port})
	who := accessFlags(cmd)
	cmd.Flag("time", "How long to measure.").Short('t').Default("10s").DurationVar(&c.dur)
	cmd.Flag("streams", "How many streams at once, each way.").Short('P').Default("1").IntVar(&c.streams)
	reverse := cmd.Flag("reverse", "From there to here, in place of from here to there.").Short('R').Bool()
	both := cmd.Flag("both", "Both ways at once.").Short('b').Bool()
	to, given := addrOf(cmd.Arg("addr", fmt.Sprintf("The key to measure to, PK or PK:PORT; port %d where none is given.", iperf.Port)), iperf.Port)
	cmd.Validate(func(*kingpin.CmdClause) error {
		switch {
		case *listen == *given:
			return api.ErrBadRequest.With("want either the key to measure to, or --listen")
		case c.dur < time.Second || c.dur > maxIperfTime:
			return api.ErrBadRequest.With("--time is %v; want 1s to %v", c.dur, maxIperfTime)
		case c.streams < 1 || c.streams > maxIperfStreams:
			return api.ErrBadRequest.With("--streams is %d; want 1 to %d", c.streams, maxIperfStreams)
		case *reverse && *both:
			return api.ErrBadRequest.With("--reverse and --both are both set")
		}
		return who.check(*listen)
	})
	p.do(cmd, func(ctx context.Context) error {
		n, err := p.network(f)
		if err != nil {
			return err
		}
		defer n.close()
		if *listen {
			return n.serveIperf(ctx, port, who)
		}
		c.n, c.to = n, *to
		return c.run(ctx, !*reverse, *reverse || *both)
	})
}

// serveIperf answers until ctx ends.
func (n *dmsgNet) serveIperf(ctx context.Context, port uint16, who *access) error {
	lis, err := n.listen(ctx, port)
	if err != nil {
		return err
	}
	defer lis.Close()
	self := proto.Addr{PK: n.client.PubKey(), Port: port}.String()
	n.p.notice(note{Event: "listening", Peer: self, Text: "listening at " + self})
	s := iperf.Server{MaxDuration: maxIperfTime, MaxTests: maxIperfTests}
	d := door{p: n.p, lis: lis, access: who, limit: maxIperfTests}
	return serveAll(ctx, maxIperfTests, d.accept, lis.Close, func(ctx context.Context, st *dmsg.Stream) {
		defer d.leave(st)
		defer st.Close()
		peer := st.Peer().String()
		dir, r, err := s.Handle(ctx, st)
		if err != nil {
			n.p.notice(note{Event: "failed", Peer: peer, Text: peer + ": " + bare(err)})
			return
		}
		served := iperfServed{peer, dir.String(), flowOf(r)}
		_ = n.p.line(served, func() { n.p.say("%s  %-4s  %s", peer, dir, served.iperfFlow) })
	})
}

func flowOf(r iperf.Report) iperfFlow {
	return iperfFlow{r.Bytes, r.Duration.Microseconds(), r.Mbps()}
}

// String writes f in a line.
func (f iperfFlow) String() string {
	return fmt.Sprintf("%s in %.2f s, %s", size(f.Bytes), float64(f.Micros)/1e6, rate(f.Mbps))
}

// rate writes a rate in megabits per second.
func rate(mbps float64) string {
	switch {
	case mbps >= 1000:
		return fmt.Sprintf("%.2f Gbit/s", mbps/1000)
	case mbps >= 100:
		return fmt.Sprintf("%.0f Mbit/s", mbps)
	default:
		return fmt.Sprintf("%.1f Mbit/s", mbps)
	}
}

// run opens the streams, measures and prints.
func (c *iperfClient) run(ctx context.Context, up, down bool) error {
	var ups, downs []*dmsg.Stream
	for range c.streams {
		for dir, wanted := range map[iperf.Direction]bool{iperf.Up: up, iperf.Down: down} {
			if !wanted {
				continue
			}
			st, err := c.n.dial(ctx, c.to)
			if err != nil {
				return err
			}
			defer st.Close()
			if dir == iperf.Up {
				ups = append(ups, st)
			} else {
				downs = append(downs, st)
			}
		}
	}
	r := iperfResult{Peer: c.to.String(), Streams: c.streams, Relays: relaysOf(ups, downs)}
	stop := c.watch(ctx, up, down)
	var err error
	r.Up, r.Down, err = c.measure(ctx, ups, downs)
	stop()
	if err != nil {
		return err
	}
	p := c.n.p
	return p.print(r, func() {
		if r.Up != nil {
			c.n.p.say("up    %s", r.Up)
		}
		if r.Down != nil {
			c.n.p.say("down  %s", r.Down)
		}
	})
}

// relaysOf returns the relays of the streams, each once.
func relaysOf(groups ...[]*dmsg.Stream) []cipher.PubKey {
	var relays []cipher.PubKey
	seen := map[cipher.PubKey]bool{}
	for _, streams := range groups {
		for _, st := range streams {
			if pk := st.Relay(); !seen[pk] {
				seen[pk] = true
				relays = append(relays, pk)
			}
		}
	}
	return relays
}

// measure runs all tests at once and adds their reports up.
func (c *iperfClient) measure(ctx context.Context, ups, downs []*dmsg.Stream) (up, down *iperfFlow, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var sums [iperf.Down + 1]iperf.Report
	test := func(st *dmsg.Stream, dir iperf.Direction, count *atomic.Uint64) {
		r, terr := iperf.Run(ctx, st, dir, c.dur, count)
		mu.Lock()
		defer mu.Unlock()
		if terr != nil {
			if err == nil {
				err = c.explain(ctx, terr)
			}
			cancel()
			return
		}
		sums[dir].Bytes += r.Bytes
		sums[dir].Duration = max(sums[dir].Duration, r.Duration)
	}
	for _, st := range ups {
		wg.Go(func() { test(st, iperf.Up, &c.up) })
	}
	for _, st := range downs {
		wg.Go(func() { test(st, iperf.Down, &c.down) })
	}
	wg.Wait()
	if err != nil {
		return nil, nil, err
	}
	if len(ups) > 0 {
		f := flowOf(sums[iperf.Up])
		up = &f
	}
	if len(downs) > 0 {
		f := flowOf(sums[iperf.Down])
		down = &f
	}
	return up, down, nil
}

func (c *iperfClient) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return errInterrupted("before the measurement was over")
	case errors.Is(err, iperf.ErrProtocol):
		return api.ErrUnreachable.With("what answers at %s is not \"skyctl dmsg iperf --listen\": %s", c.to, bare(err))
	}
	return api.ErrUnreachable.With("%s: %s", c.to, bare(err))
}

// watch prints what goes by in each second, for people, until its result is called.
func (c *iperfClient) watch(ctx context.Context, up, down bool) (stop func()) {
	if c.n.p.json {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		last := time.Now()
		var before [2]uint64
		for second := 1; pause(ctx, time.Second); second++ {
			now, seen := time.Now(), [2]uint64{c.up.Load(), c.down.Load()}
			text := fmt.Sprintf("%3d s", second)
			for i, name := range []string{"up", "down"} {
				if []bool{up, down}[i] {
					text += fmt.Sprintf("  %s %s", name, rate(iperf.Report{Bytes: seen[i] - before[i], Duration: now.Sub(last)}.Mbps()))
				}
			}
			c.n.p.notice(note{Event: "interval", Text: text})
			last, before = now, seen
		}
	})
	return func() { cancel(); wg.Wait() }
}
