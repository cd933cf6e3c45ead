package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/bench/limit"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// Micro returns the benchmark of the parts, each alone, on one core of this
// process: <name>_ns, and <name>_mb_per_s where bytes move. A sample takes a tenth
// to a fifth of Env.Duration.
func Micro() run.Scenario {
	return run.Scenario{
		Name:    "micro",
		Summary: "the parts alone: AEAD, batched UDP, table look-up, handshakes",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			parts, stop, err := microParts()
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, stop()) }()
			var contestants []run.Contestant
			for _, p := range parts {
				contestants = append(contestants, run.Contestant{Name: p.name, Run: func(context.Context) (run.Sample, error) {
					return p.measure(e.Duration / 10)
				}})
			}
			series, err := e.Rounds(ctx, contestants...)
			if err != nil {
				return run.Result{}, err
			}
			metrics := make(map[string]float64)
			for _, p := range parts {
				metrics[p.name+"_ns"] = series.Median(p.name, "ns")
				if p.bytes > 0 {
					metrics[p.name+"_mb_per_s"] = series.Median(p.name, "mb_per_s")
				}
			}
			return run.Result{Metrics: metrics, Samples: series}, nil
		},
	}
}

// A micro is one part under measurement.
type micro struct {
	name  string
	times int          // how often one call of op does the thing
	bytes int          // that one time moves, 0 if that is not the point
	op    func() error // an error ends the scenario
}

// measure calls op for d to 2·d in a row and returns the cost of one time.
func (m micro) measure(d time.Duration) (run.Sample, error) {
	for n := 1; ; n *= 2 {
		start := time.Now()
		for range n {
			if err := m.op(); err != nil {
				return nil, err
			}
		}
		took := time.Since(start)
		if took < d {
			continue
		}
		ns := float64(took.Nanoseconds()) / float64(n*m.times)
		s := run.Sample{"ns": ns}
		if m.bytes > 0 {
			s["mb_per_s"] = float64(m.bytes) / ns * 1e3
		}
		return s, nil
	}
}

// microParts returns all parts, and what frees their sockets.
func microParts() (parts []micro, stop func() error, err error) {
	for _, n := range []int{1400, 8192} {
		parts = append(parts, microAEAD(n)...)
	}
	parts = append(parts, microLookup())
	crypto, err := microCrypto()
	if err != nil {
		return nil, nil, err
	}
	parts = append(parts, crypto...)
	udp, stop, err := microUDP()
	if err != nil {
		return nil, nil, err
	}
	return append(parts, udp), stop, nil
}

// microAEAD seals and opens n bytes under a frame header, as links do.
func microAEAD(n int) []micro {
	var (
		key    [noise.KeyLen]byte
		nonce  noise.Nonce
		header [packet.FrameHeaderLen]byte
		send   = noise.NewSendKey(key)
		recv   = noise.NewRecvKey(key)
		plain  = make([]byte, n, n+noise.TagLen)
		opened = make([]byte, n)
	)
	sealed := send.Seal(nil, plain, header[:], &nonce, 0, 1)
	return []micro{
		{fmt.Sprintf("seal_%d", n), 1, n, func() error {
			send.Seal(plain[:0], plain, header[:], &nonce, 0, 1)
			return nil
		}},
		// Not in place: what has been opened cannot be opened again.
		{fmt.Sprintf("open_%d", n), 1, n, func() error {
			_, err := recv.Open(opened[:0], sealed, header[:], &nonce, 0, 1)
			return err
		}},
	}
}

// microLookup finds rules by label in a table of 4096, in an order that no
// prefetcher guesses.
func microLookup() micro {
	const rules = 4096
	type rule struct{ label packet.Label }
	var table packet.Slots[rule]
	for i := range rules {
		l := packet.Label(packet.FirstDynamicSlot + i)
		table.Store(l.Slot(), &rule{l})
	}
	return micro{"label_lookup", rules, 0, func() error {
		at := 1
		for range rules {
			at = (at*5 + 3) % rules // visits all of them
			l := packet.Label(packet.FirstDynamicSlot + at)
			if r := table.Load(l.Slot()); r == nil || r.label != l {
				return errors.New("micro: a label is not in the table")
			}
		}
		return nil
	}}
}

// microCrypto has what costs elliptic curve multiplications: both sides of whole
// handshakes, and one ECDH with an ephemeral and with the blinded static key.
func microCrypto() ([]micro, error) {
	apk, ask := cipher.GenerateKeyPair()
	bpk, bsk := cipher.GenerateKeyPair()
	a, err := cipher.NewStaticKey(ask)
	if err != nil {
		return nil, err
	}
	b, err := cipher.NewStaticKey(bsk)
	if err != nil {
		return nil, err
	}
	return []micro{
		{"ecdh", 1, 0, func() error { _, err := cipher.ECDH(ask, bpk); return err }},
		{"ecdh_static", 1, 0, func() error { _, err := a.ECDH(bpk); return err }},
		{"handshake_ik", 1, 0, func() error {
			return handshake(noise.Config{Pattern: noise.IK, Static: a, Peer: bpk}, noise.Config{Pattern: noise.IK, Static: b})
		}},
		{"handshake_kk", 1, 0, func() error {
			return handshake(noise.Config{Pattern: noise.KK, Static: a, Peer: bpk}, noise.Config{Pattern: noise.KK, Static: b, Peer: apk})
		}},
	}, nil
}

// handshake runs a two-message handshake, both sides.
func handshake(initiator, responder noise.Config) error {
	initiator.Initiator = true
	i, err := noise.NewHandshake(initiator)
	if err != nil {
		return err
	}
	r, err := noise.NewHandshake(responder)
	if err != nil {
		return err
	}
	for from, to := i, r; !from.Finished(); from, to = to, from {
		msg, err := from.WriteMessage(nil, nil)
		if err != nil {
			return err
		}
		if _, err := to.ReadMessage(nil, msg); err != nil {
			return err
		}
	}
	return nil
}

// microUDP sends one superpacket as large as the yardstick's over loopback and
// reads it again: a datagram's share of one send and one receive.
func microUDP() (_ micro, stop func() error, err error) {
	cfg := udpio.DefaultConfig()
	cfg.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	group, err := udpio.Listen(cfg)
	if err != nil {
		return micro{}, nil, err
	}
	conn, to := group.Conn(0), group.LocalAddr()
	w, batch := conn.NewWriter(), udpio.NewBatch()
	data := make([]byte, limit.PayloadBytes*limit.BatchPackets)
	return micro{"udp_batch", limit.BatchPackets, limit.PayloadBytes, func() error {
		w.Add(data, limit.PayloadBytes, to)
		if err := w.Flush(); err != nil {
			return err
		}
		for got := 0; got < limit.BatchPackets; {
			if err := conn.ReadBatch(batch); err != nil {
				return err
			}
			for i := range batch.N {
				got += batch.Pkts[i].Datagrams()
			}
		}
		return nil
	}}, group.Close, nil
}
