//go:build e2e && linux

package e2e

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestFlood: a neighbour X sends 50,000 handshake initiations a second to B from
// addresses that it does not have, and each of them is one that B would answer. A
// transfer from A keeps at least half of what it has while X sends the same to a
// port where nobody listens.
//
//	A ── B ── X
func TestFlood(t *testing.T) {
	r := chain(t, time.Minute, 3)
	a, b := r.visor(0, nil), r.visor(1, nil)
	a.connect(b, api.SUDPH, 0)
	wire := r.net.Links[1]
	// What B answers goes out, as on the Internet, to whoever has those addresses.
	if out, err := b.ns.Command(r.ctx, "ip", "route", "add", "default", "via", wire.B.IPv4.Addr().String()).CombinedOutput(); err != nil {
		t.Fatalf("ip route: %v: %s", err, out)
	}
	s := b.serve()
	b.expose(s, 80, "--allow", a.PK.String())
	x := a.send(a.reach(b, 80), endless)
	goodput := func(d time.Duration) float64 {
		start, before := time.Now(), s.received.Load()
		time.Sleep(d) // the measurement
		return float64(s.received.Load()-before) * 8 / 1e6 / time.Since(start).Seconds()
	}
	goodput(time.Second) // windows grow
	t.Logf("%.0f Mbit/s without a flood", goodput(time.Second))

	f := newFlood(t, wire.B, initiations(t, b.PK, 512))
	const rate, pairs, window = 50_000, 5, 1200 * time.Millisecond
	under := func(port uint16) float64 {
		stop := f.start(netip.AddrPortFrom(wire.A.IPv4.Addr(), port), rate)
		defer stop()
		goodput(window / 4) // queues settle
		return goodput(window)
	}
	var ratios []float64
	start := time.Now()
	for range pairs {
		closed := under(9)
		open := under(7777)
		ratios = append(ratios, open/closed)
		t.Logf("closed port %.0f Mbit/s, visor's port %.0f Mbit/s", closed, open)
	}
	sent := float64(f.sent.Load()) / time.Since(start).Seconds()
	slices.Sort(ratios)
	drops := b.drops()
	t.Logf("ratio %.2f (%.2f to %.2f) at %.0f initiations a second; B dropped %v", ratios[pairs/2], ratios[0], ratios[pairs-1], sent, drops)
	if ratios[pairs/2] < 0.5 {
		t.Errorf("under the flood the transfer has %.2f of its goodput, want at least 0.5", ratios[pairs/2])
	}
	if sent < rate/2 {
		t.Errorf("only %.0f initiations a second were sent: the test shows nothing", sent)
	}
	if drops["link: no_cookie"] == 0 {
		t.Errorf("B asked nobody for a cookie: %v", drops)
	}
	if err := x.finish(); err != nil {
		t.Error(err)
	}
	if links := ask[[]api.Link](b, "link", "ls"); len(links) == 0 || len(links) > 1024+1 {
		t.Errorf("B has %d links", len(links))
	}
}

// initiations returns valid first messages of link handshakes to pk, each from a key
// of its own.
func initiations(t *testing.T, pk cipher.PubKey, n int) [][]byte {
	t.Helper()
	var all [][]byte
	jar := noise.NewCookieJar(pk)
	for i := range n {
		_, sk := cipher.GenerateKeyPair()
		static, err := cipher.NewStaticKey(sk)
		if err != nil {
			t.Fatal(err)
		}
		hs, err := noise.NewHandshake(noise.Config{
			Pattern: noise.IK, Initiator: true, Static: static, Peer: pk,
			Prologue: append([]byte("skywire-link"), packet.Version, 2), // 2 is SUDPH, docs/wire.md section 2.2
		})
		if err != nil {
			t.Fatal(err)
		}
		payload := noise.AppendTLV(nil, packet.TLVTimestamp, binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano())))
		payload = noise.AppendTLV(payload, packet.TLVMaxPacket, binary.BigEndian.AppendUint32(nil, 1424))
		payload = noise.AppendTLV(payload, packet.TLVDirectLabel, binary.BigEndian.AppendUint32(nil, 1<<16))
		msg := packet.HandshakeHeader{Type: packet.FrameInitiation, Sender: uint32(i + 1)}.Append(nil)
		if msg, err = hs.WriteMessage(msg, payload); err != nil {
			t.Fatal(err)
		}
		msg = append(msg, make([]byte, packet.MACsLen)...)
		if err := jar.AddMACs(msg, 0); err != nil {
			t.Fatal(err)
		}
		all = append(all, msg)
	}
	return all
}

// A flood sends datagrams from source addresses that are made up.
type flood struct {
	t    *testing.T
	fd   int
	msgs [][]byte // IP packets, but for their addresses
	sent atomic.Int64
}

// newFlood makes a flood of msgs that leaves at an end of a wire.
func newFlood(t *testing.T, from *topo.End, msgs [][]byte) *flood {
	t.Helper()
	f := &flood{t: t}
	if err := from.NS.Do(func() (err error) {
		f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(f.fd) })
	for _, m := range msgs {
		f.msgs = append(f.msgs, ipPacket(m))
	}
	return f
}

// Offsets in an IPv4 packet with a UDP datagram (RFC 791, RFC 768).
const (
	ipSource = 12
	ipTarget = 16
	udpStart = 20
	udpData  = 28
)

// ipPacket puts headers before a datagram. The kernel writes the checksum of the IP
// header (raw(7)); UDP may do without.
func ipPacket(data []byte) []byte {
	p := make([]byte, udpData, udpData+len(data))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(cap(p)))
	binary.BigEndian.PutUint16(p[udpStart+4:], uint16(cap(p)-udpStart))
	return append(p, data...)
}

// start floods a port with so many datagrams a second, until stop is called.
func (f *flood) start(to netip.AddrPort, perSecond int) (stop func()) {
	var seed [32]byte
	crand.Read(seed[:])
	random := rand.New(rand.NewChaCha8(seed))
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		const tick = time.Millisecond
		clock := time.NewTicker(tick)
		defer clock.Stop()
		begin, done := time.Now(), 0
		for {
			select {
			case <-quit:
				return
			case <-clock.C:
			}
			due := int(time.Since(begin).Seconds() * float64(perSecond))
			// What was missed for long is not made up for: a burst would fill B's queue.
			for done = max(done, due-perSecond/20); done < due; done++ {
				if err := f.one(to, random); err != nil {
					f.t.Errorf("flood: %v", err)
					return
				}
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

// one sends one datagram from an address in 198.18.0.0/15, which is for such tests
// (RFC 2544).
func (f *flood) one(to netip.AddrPort, random *rand.Rand) error {
	p := f.msgs[random.IntN(len(f.msgs))]
	at := to.Addr().As4()
	copy(p[ipTarget:], at[:])
	binary.BigEndian.PutUint32(p[ipSource:], 198<<24|18<<16|random.Uint32N(1<<17))
	binary.BigEndian.PutUint16(p[udpStart:], uint16(1024+random.IntN(60000)))
	binary.BigEndian.PutUint16(p[udpStart+2:], to.Port())
	err := unix.Sendto(f.fd, p, 0, &unix.SockaddrInet4{Addr: at})
	if err == nil {
		f.sent.Add(1)
	}
	return err
}
