package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	daemon "github.com/skyminer/skywire/controlplane/visor"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	linkTx   = "link-tx"
	linkRx   = "link-rx"
	linkPort = 7001
	// linkBatch is how many packets the sender gathers before it flushes, as many
	// as the yardstick has in one GSO send.
	linkBatch = 44
	// linkSlack is how far a sender with a rate may fall behind and catch up.
	linkSlack = 2 * time.Millisecond
	// linkBackoff is how long a sender waits for the full queue of a stream: a part
	// of what is in it at 10 Gbit/s.
	linkBackoff = 200 * time.Microsecond
)

// Link returns the benchmark of one link: route packets of the link's MTU as fast
// as one goroutine can send them, beside the yardstick. What counts is the bytes of
// route packets that arrived, without frame headers and tags.
//
//	a ── veth ── b
//	link-tx      link-rx
func Link() run.Scenario {
	return run.Scenario{
		Name:    "link",
		Summary: "datagrams over one link, beside the yardstick",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.Chain(e.Log, 2)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			series, err := e.Rounds(ctx, limitContestant(e, net.Links[0]), linkContestant(e, net.Links[0]))
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{
				Metrics: map[string]float64{
					"limit_ratio":     series.Ratio("link", "limit", "received_gbps"),
					"received_gbps":   series.Median("link", "received_gbps"),
					"limit_gbps":      series.Median("limit", "received_gbps"),
					"packets_per_s":   series.Median("link", "packets_per_s"),
					"packet_bytes":    series.Median("link", "packet_bytes"),
					"loss":            series.Median("link", "loss"),
					"tx_cpu_s_per_gb": series.Median("link", "tx_cpu_s_per_gb"),
					"rx_cpu_s_per_gb": series.Median("link", "rx_cpu_s_per_gb"),
				},
				Samples: series,
			}, nil
		},
	}
}

// linkConfig goes to both ends.
type linkConfig struct {
	Secret    cipher.SecKey // this end's
	Peer      cipher.PubKey // the other end's
	Transport string
	Addr      string // where the receiver listens
	Seconds   float64
	Size      int // bytes of a route packet, 0 for the link's MTU
	Label     packet.Label
	Rate      float64 // bit/s of route packets that the sender sends, 0 for all it can
}

// linkTotals is what one end saw.
type linkTotals struct {
	Packets, Bytes int64
	Seconds        float64
	CPUSeconds     float64
	Size           int
}

func linkContestant(e *run.Env, l *topo.Link) run.Contestant {
	return run.Contestant{Name: "link", Run: func(ctx context.Context) (run.Sample, error) {
		apk, ask := cipher.GenerateKeyPair()
		bpk, bsk := cipher.GenerateKeyPair()
		cfg := linkConfig{
			Secret: bsk, Peer: apk, Transport: e.Transport, Seconds: e.Duration.Seconds(), Size: e.Size, Label: 1,
			Addr: netip.AddrPortFrom(l.B.IPv4.Addr(), linkPort).String(),
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		receiver, err := e.Start(ctx, l.B.NS, linkRx, cfg)
		if err != nil {
			return nil, err
		}
		cfg.Secret, cfg.Peer = ask, bpk
		var tx, rx linkTotals
		sender, err := e.Start(ctx, l.A.NS, linkTx, cfg)
		if err == nil {
			err = sender.Result(&tx)
		}
		if err = errors.Join(err, receiver.Stop(&rx)); err != nil {
			return nil, err
		}
		if rx.Packets == 0 {
			return nil, fmt.Errorf("link: none of %d packets arrived", tx.Packets)
		}
		const giga = 1e9
		return run.Sample{
			"received_gbps":   float64(rx.Bytes) * 8 / giga / rx.Seconds,
			"packets_per_s":   float64(rx.Packets) / rx.Seconds,
			"packet_bytes":    float64(tx.Size),
			"loss":            1 - float64(rx.Packets)/float64(tx.Packets),
			"tx_cpu_s_per_gb": tx.CPUSeconds / (float64(tx.Bytes) / giga),
			"rx_cpu_s_per_gb": rx.CPUSeconds / (float64(rx.Bytes) / giga),
		}, nil
	}}
}

func linkRoles() []run.Role {
	return []run.Role{run.NewRole(linkTx, linkSend), run.NewRole(linkRx, linkReceive)}
}

// linkSend connects, waits for the MTU and sends.
func linkSend(ctx context.Context, cfg linkConfig, ready func()) (t linkTotals, err error) {
	h := &linkCounter{}
	e, typ, err := linkEngine(cfg, h, false)
	if err != nil {
		return t, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() { cancel(); err = errors.Join(err, <-done) }()
	addr, err := netip.ParseAddrPort(cfg.Addr)
	if err != nil {
		return t, err
	}
	l, err := e.AddLink(cfg.Peer, typ, addr)
	if err != nil {
		return t, err
	}
	if err := l.WaitUp(ctx); err != nil {
		return t, err
	}
	if err := settleMTU(ctx, l); err != nil {
		return t, err
	}
	ready()
	size := l.MTU()
	if cfg.Size > 0 {
		size = min(size, packet.Padded(max(cfg.Size-packet.RouteHeaderLen, 0)))
	}
	t.Size = size
	tx := e.GetTx()
	defer e.PutTx(tx)
	var dropped uint64
	start, cpu := time.Now(), cpuSeconds()
	end, due := start.Add(time.Duration(cfg.Seconds*float64(time.Second))), start
	for now := start; now.Before(end) && ctx.Err() == nil; now = time.Now() {
		tx.Start(l)
		for range linkBatch {
			packet.RouteHeader{Label: cfg.Label, Kind: packet.KindData, Length: uint16(size - packet.RouteHeaderLen)}.Put(tx.Packet(size))
		}
		if err := tx.Flush(); err != nil {
			return t, err
		}
		t.Packets += linkBatch
		if typ != link.SUDPH { // over a stream, what does not fit its queue is dropped before it costs anything
			if d := l.Info().TxDrops; d != dropped {
				dropped = d
				time.Sleep(linkBackoff)
			}
		}
		if cfg.Rate > 0 {
			due = later(due, now.Add(-linkSlack)).Add(time.Duration(linkBatch * float64(size) * 8 / cfg.Rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
	}
	t.Bytes = t.Packets * int64(size)
	t.Seconds, t.CPUSeconds = time.Since(start).Seconds(), cpuSeconds()-cpu
	return t, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settleMTU waits until probing has found what the path carries, which takes some
// round trips.
func settleMTU(ctx context.Context, l *link.Link) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for range 100 {
		if l.MTU() > packet.MinMTU {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil // the path carries no more
}

// linkReceive counts until it is told to stop.
func linkReceive(ctx context.Context, cfg linkConfig, ready func()) (t linkTotals, err error) {
	h := &linkCounter{}
	e, _, err := linkEngine(cfg, h, true)
	if err != nil {
		return t, err
	}
	ready()
	cpu := cpuSeconds()
	if err := e.Run(ctx); err != nil {
		return t, err
	}
	t.Packets, t.Bytes = h.packets.Load(), h.bytes.Load()
	t.Seconds = time.Duration(h.last.Load() - h.first.Load()).Seconds()
	t.CPUSeconds = cpuSeconds() - cpu
	return t, nil
}

func linkEngine(cfg linkConfig, h link.Handler, listen bool) (*link.Engine, link.Type, error) {
	static, err := cipher.NewStaticKey(cfg.Secret)
	if err != nil {
		return nil, 0, err
	}
	typ, err := link.ParseType(cfg.Transport)
	if err != nil {
		return nil, 0, err
	}
	daemon.UseProcessors(0) // as the daemon does: it is this process's only engine
	lc := link.DefaultConfig()
	lc.Static, lc.Log = static, zerolog.Nop()
	lc.UDP = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if listen {
		addr, err := netip.ParseAddrPort(cfg.Addr)
		if err != nil {
			return nil, 0, err
		}
		if typ == link.STCPR {
			lc.TCP = addr
		} else {
			lc.UDP = addr
		}
	}
	e, err := link.New(lc, h)
	return e, typ, err
}

// linkCounter is a link.Handler that counts what arrives.
type linkCounter struct {
	packets, bytes atomic.Int64
	first, last    atomic.Int64 // ns on the engine's clock
}

func (h *linkCounter) Attach(*link.Link) packet.Label                  { return 1 << 16 }
func (h *linkCounter) Detach(*link.Link)                               {}
func (h *linkCounter) LinkUp(*link.Link)                               {}
func (h *linkCounter) LinkDown(*link.Link, error)                      {}
func (h *linkCounter) RouteError(*link.Link, uint8, int, packet.Label) {}
func (h *linkCounter) HandleBurst(b *link.Burst) {
	var bytes int
	for _, p := range b.Pkt[:b.N] {
		bytes += len(p)
	}
	h.packets.Add(int64(b.N))
	h.bytes.Add(int64(bytes))
	h.first.CompareAndSwap(0, b.Now)
	h.last.Store(b.Now)
}

// keyPairs makes keys for n processes, whose configurations carry them.
func keyPairs(n int) (pks []cipher.PubKey, sks []cipher.SecKey) {
	for range n {
		pk, sk := cipher.GenerateKeyPair()
		pks, sks = append(pks, pk), append(sks, sk)
	}
	return pks, sks
}

// cpuSeconds returns the CPU time of this process so far.
func cpuSeconds() float64 {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
}
