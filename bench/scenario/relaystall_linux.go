package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	stallTx = "relay-stall-tx"
	stallRx = "relay-stall-rx"
	// stallStreams is how many streams stall when Streams does not say.
	stallStreams = 64
	// stallLength is how many times Env.Duration the other stream is measured, from
	// when the stalling begins. All have run for stallWarm then.
	stallLength = 4
	stallWarm   = 500 * time.Millisecond
)

// How a receiver stalls.
const (
	stallNone   = "alone"  // there is none
	stallUnread = "unread" // the program does not read its streams
	stallFrozen = "frozen" // the process is stopped, so that nobody reads its socket
)

// RelayStall returns the benchmark of being unimpressed: what one stream brings while
// the same sender, in the same session, writes Streams (64) other streams to a
// receiver that takes nothing any more, by what it brings alone. ratio is that of a
// receiver whose process is stopped in the middle of the transfer, so that the relay's
// queue for it fills up; ratio_unread that of a program that never reads its streams.
// pause_ms is the longest time, in steps of 100 ms, in which nothing arrived.
//
//	a ── veth ── b ── veth ── c     relay-rx
//	relay-stall  relay-hub
//	   -tx        └─── veth ── d     relay-stall-rx, stopped
func RelayStall() run.Scenario {
	return run.Scenario{
		Name:    "relay-stall",
		Summary: "a stream through a dmsg relay while 64 others of the same sender stall",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			wires, err := topo.Chain(e.Log, 3)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, wires.Close()) }()
			d, err := wires.Namespace("d")
			if err != nil {
				return run.Result{}, err
			}
			if _, err := wires.Join(wires.NS[1], d); err != nil {
				return run.Result{}, err
			}
			series, err := e.Rounds(ctx, stallContestant(e, wires, stallNone),
				stallContestant(e, wires, stallFrozen), stallContestant(e, wires, stallUnread))
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{
				Metrics: map[string]float64{
					"ratio":         series.Ratio(stallFrozen, stallNone, "received_gbps"),
					"ratio_unread":  series.Ratio(stallUnread, stallNone, "received_gbps"),
					"alone_gbps":    series.Median(stallNone, "received_gbps"),
					"goodput_gbps":  series.Median(stallFrozen, "received_gbps"),
					"pause_ms":      series.Median(stallFrozen, "pause_ms"),
					"length_s":      (stallLength * e.Duration).Seconds(),
					"stalled_bytes": series.Median(stallFrozen, "stalled_bytes"),
				},
				Samples: series,
			}, nil
		},
	}
}

// stallConfig goes to the sender: where the stream and the stalling ones go.
type stallConfig struct {
	relayEnd
	Stalling cipher.PubKey // zero: there is none
	Freeze   int           // the process to stop; 0: none
}

// stallTotals is what the sender wrote.
type stallTotals struct {
	Bytes, Stalled int64
}

func stallContestant(e *run.Env, wires *topo.Net, how string) run.Contestant {
	return run.Contestant{Name: how, Run: func(ctx context.Context) (run.Sample, error) {
		return stall(ctx, e, wires, how)
	}}
}

// stall makes one transfer, while another one stalls if how says so.
func stall(ctx context.Context, e *run.Env, wires *topo.Net, how string) (_ run.Sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pk, sk := keyPairs(4) // of the hub, the sender, the receiver, the one that stalls
	hub, err := e.Start(ctx, wires.NS[1], relayHub, hubConfig{Mode: hubRelay, Secret: sk[0], Listen: fmt.Sprintf(":%d", relayHubPort)})
	if err != nil {
		return nil, err
	}
	length := stallLength * e.Duration
	end := func(i int, at *topo.End) relayEnd {
		return relayEnd{
			Secret: sk[i], Hub: pk[0], HubAddr: netip.AddrPortFrom(at.IPv4.Addr(), relayHubPort).String(),
			Seconds: (stallWarm + length).Seconds(), Streams: stallStreams, Verify: e.Verify, Cut: true,
		}
	}
	rx, err := e.Start(ctx, wires.NS[2], relayRx, end(2, wires.Links[1].A))
	if err != nil {
		return nil, err
	}
	cfg := stallConfig{relayEnd: end(1, wires.Links[0].B)}
	cfg.Peer = pk[2]
	if e.Streams > 1 {
		cfg.Streams = e.Streams
	}
	if how != stallNone {
		stalling := end(3, wires.Links[2].A)
		role := stallRx
		if how == stallFrozen {
			role = relayRx // it reads as long as it can
		}
		p, err := e.Start(ctx, wires.NS[3], role, stalling)
		if err != nil {
			return nil, err
		}
		cfg.Stalling = pk[3]
		if how == stallFrozen {
			cfg.Freeze = p.PID()
		}
		defer func() {
			if how == stallFrozen {
				err = errors.Join(err, unix.Kill(p.PID(), unix.SIGCONT))
			}
			err = errors.Join(err, p.Stop(&streamTotals{}))
		}()
	}
	var sent stallTotals
	var got streamTotals
	tx, err := e.Start(ctx, wires.NS[0], stallTx, cfg)
	if err == nil {
		err = tx.Result(&sent)
	}
	if err = errors.Join(err, rx.Stop(&got), hub.Stop(&hubTotals{})); err != nil {
		return nil, err
	}
	if got.Bytes == 0 || got.Bytes > sent.Bytes {
		return nil, fmt.Errorf("relay-stall: %d bytes were written and %d read", sent.Bytes, got.Bytes)
	}
	return run.Sample{
		"received_gbps": got.rate(stallWarm, stallWarm+length) / 1e9,
		"pause_ms":      1e3 * got.pause(),
		"stalled_bytes": float64(sent.Stalled),
	}, nil
}

// pause returns the longest time between two points of the curve in which nothing
// arrived, in seconds.
func (t streamTotals) pause() (longest float64) {
	var since streamPoint
	for _, p := range t.Points {
		if p.Bytes != since.Bytes {
			since = p
		}
		longest = max(longest, p.Seconds-since.Seconds)
	}
	return longest
}

// stallSend writes to both receivers and stops the one.
func stallSend(ctx context.Context, cfg stallConfig, ready func()) (t stallTotals, err error) {
	c, err := cfg.client(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	stream, err := c.Dial(ctx, proto.Addr{PK: cfg.Peer, Port: relayPort})
	if err != nil {
		return t, err
	}
	defer stream.Close()
	var stalling []*dmsg.Stream
	for range cfg.Streams {
		if cfg.Stalling.IsZero() {
			break
		}
		s, err := c.Dial(ctx, proto.Addr{PK: cfg.Stalling, Port: relayPort})
		if err != nil {
			return t, err
		}
		defer s.Close()
		stalling = append(stalling, s)
	}
	ready()
	end := time.Now().Add(time.Duration(cfg.Seconds * float64(time.Second)))
	stalled := make(chan int64, len(stalling))
	for _, s := range stalling {
		go func() {
			n, _ := writeUntil(s, end, true) // the relay resets it when it has waited enough
			stalled <- n
		}()
	}
	stopped := make(chan error, 1)
	time.AfterFunc(stallWarm, func() {
		if cfg.Freeze == 0 {
			stopped <- nil
			return
		}
		stopped <- unix.Kill(cfg.Freeze, unix.SIGSTOP)
	})
	t.Bytes, err = writeUntil(stream, end, true)
	for range stalling {
		t.Stalled += <-stalled
	}
	return t, errors.Join(err, <-stopped)
}

// stallHold accepts streams and does not read them.
func stallHold(ctx context.Context, cfg relayEnd, ready func()) (t streamTotals, err error) {
	l, done, err := cfg.listen(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, done()) }()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready()
	for {
		c, err := l.Accept()
		if err != nil {
			return t, nil // closed
		}
		defer c.Close()
	}
}
