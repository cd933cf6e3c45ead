package udpio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// The conformance tests hold for every way in which the package can run.
var modes = []struct {
	name string
	set  func(*Config)
}{
	{"native", func(*Config) {}},
	{"no GSO", func(c *Config) { c.NoGSO = true }},
	{"no GRO", func(c *Config) { c.NoGRO = true }},
	{"no offload", func(c *Config) { c.NoGSO, c.NoGRO = true, true }},
	{"portable", func(c *Config) { c.Portable = true }},
}

// The kinds of address: where the receiver listens and how the sender names it.
var families = []struct {
	name             string
	rx, tx, from, to string
}{
	{"IPv4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
	{"IPv6", "[::1]:0", "[::1]:0", "::1", "::1"},
	{"IPv4 to dual stack", "[::]:0", "127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
	{"IPv6 to dual stack", "[::]:0", "[::]:0", "::1", "::1"},
	{"dual stack to IPv4", "0.0.0.0:0", "[::]:0", "127.0.0.1", "127.0.0.1"},
	{"mapped IPv4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1", "::ffff:127.0.0.1"},
}

// each runs f in every mode with every kind of address.
func each(t *testing.T, f func(t *testing.T, rx, tx *Group, to netip.AddrPort)) {
	for _, m := range modes {
		for _, fam := range families {
			t.Run(m.name+"/"+fam.name, func(t *testing.T) {
				rx := open(t, fam.rx, m.set)
				tx := open(t, fam.tx, m.set)
				f(t, rx, tx, netip.AddrPortFrom(netip.MustParseAddr(fam.to), rx.LocalAddr().Port()))
			})
		}
	}
}

// open listens for the time of a test. A test that waits in vain for a packet ends
// with net.ErrClosed after five seconds.
func open(t testing.TB, addr string, set ...func(*Config)) *Group {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Addr = netip.MustParseAddrPort(addr)
	for _, s := range set {
		s(&cfg)
	}
	g, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := t.(*testing.T); ok {
		guard := time.AfterFunc(5*time.Second, func() { g.Close() })
		t.Cleanup(func() { guard.Stop() })
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// A received datagram, copied.
type datagram struct {
	data string
	from netip.AddrPort
}

// receive reads n datagrams from worker 0 and checks each superpacket's shape.
func receive(t *testing.T, g *Group, n int) (got []datagram) {
	t.Helper()
	return receiveFrom(t, g.Conn(0), n)
}

func receiveFrom(t *testing.T, c *Conn, n int) (got []datagram) {
	t.Helper()
	b := NewBatch()
	for len(got) < n {
		if err := c.ReadBatch(b); err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(got), n, err)
		}
		if b.N < 1 || b.N > Slots {
			t.Fatalf("%d superpackets in a batch", b.N)
		}
		for _, p := range b.Pkts[:b.N] {
			if p.Seg < 1 || p.Seg > len(p.Data) || cap(p.Data) != len(p.Data) {
				t.Fatalf("superpacket with seg %d, len %d, cap %d", p.Seg, len(p.Data), cap(p.Data))
			}
			if !c.gro && p.Seg != len(p.Data) {
				t.Fatalf("seg %d of %d bytes without receive offload", p.Seg, len(p.Data))
			}
			count := 0
			for off := 0; off < len(p.Data); off += p.Seg {
				got = append(got, datagram{string(p.Data[off:min(off+p.Seg, len(p.Data))]), p.From})
				count++
			}
			if p.Datagrams() != count {
				t.Fatalf("Datagrams() = %d, want %d", p.Datagrams(), count)
			}
		}
	}
	return got
}

// flush sends what is queued.
func flush(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// pattern returns n bytes that differ from those of other seeds.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	runs := []struct{ size, seg int }{
		{1, 1}, {1, 0}, {100, 100}, {100, 1 << 20}, // lone ones
		{2800, 1400}, {2801, 1400}, {4199, 1400}, {1401, 1400},
		{44 * 1400, 1400}, {64 * 100, 100}, {65 * 100, 100}, {200 * 10, 10}, // over MaxSegments
		{MaxSendBytes, 1452}, {MaxSendBytes + 5000, 1452}, // over MaxSendBytes
		{65000, 32500}, {65000, 40000}, {48001, 16000},
	}
	each(t, func(t *testing.T, rx, tx *Group, to netip.AddrPort) {
		w := tx.Conn(0).NewWriter()
		var n, total int
		for i, r := range runs {
			data := pattern(r.size, uint64(i))
			seg := r.seg
			if seg < 1 || seg > len(data) {
				seg = len(data)
			}
			var want []string
			for off := 0; off < len(data); off += seg {
				want = append(want, string(data[off:min(off+seg, len(data))]))
			}
			w.Add(data, r.seg, to)
			flush(t, w)
			for j, d := range receive(t, rx, len(want)) {
				if d.data != want[j] {
					t.Fatalf("%d bytes by %d: datagram %d of %d differs (%d bytes, want %d)", r.size, r.seg, j, len(want), len(d.data), len(want[j]))
				}
				if d.from.Port() != tx.LocalAddr().Port() || d.from.Addr().Is4In6() || d.from.Addr() != to.Addr().Unmap() {
					t.Fatalf("from %v, want %v with the port of %v", d.from, to.Addr().Unmap(), tx.LocalAddr())
				}
			}
			n += len(want)
			total += r.size
		}
		r, s := rx.Stats(), tx.Stats()
		if r.RxDatagrams != uint64(n) || r.RxBytes != uint64(total) || r.RxBatches == 0 {
			t.Errorf("received %d datagrams, %d bytes in %d batches, want %d, %d, some", r.RxDatagrams, r.RxBytes, r.RxBatches, n, total)
		}
		if s.TxDatagrams != uint64(n) || s.TxBytes != uint64(total) || s.TxBatches == 0 {
			t.Errorf("sent %d datagrams, %d bytes in %d batches, want %d, %d, some", s.TxDatagrams, s.TxBytes, s.TxBatches, n, total)
		}
		if r.Drops != [NumDropReasons]uint64{} || s.Drops != [NumDropReasons]uint64{} || r.KernelDrops != 0 {
			t.Errorf("drops: receiver %v and %d, sender %v", r.Drops, r.KernelDrops, s.Drops)
		}
	})
}

// Whatever Add joins and cuts, the datagrams that arrive are those that the slow
// obvious way would have sent, in order per address.
func TestRandomQueues(t *testing.T) {
	const seed = 20
	each(t, func(t *testing.T, rx, tx *Group, to netip.AddrPort) {
		rng := rand.New(rand.NewPCG(seed, 0))
		rx2 := open(t, netip.AddrPortFrom(rx.LocalAddr().Addr(), 0).String(), func(c *Config) { c.Portable = rx.Conn(0).portable })
		rxs := []*Group{rx, rx2}
		w := tx.Conn(0).NewWriter()
		for round := range 20 {
			var want [2][]string
			for range 1 + rng.IntN(2*WriterSlots) {
				size := 1 + rng.IntN(700)
				seg := []int{100, 100, 100, 250, 1 + rng.IntN(300), 0}[rng.IntN(6)]
				data := pattern(size, rng.Uint64())
				k := rng.IntN(2)
				w.Add(data, seg, netip.AddrPortFrom(to.Addr(), rxs[k].LocalAddr().Port()))
				if seg < 1 {
					seg = size
				}
				for ; len(data) > 0; data = data[min(seg, len(data)):] {
					want[k] = append(want[k], string(data[:min(seg, len(data))]))
				}
			}
			flush(t, w)
			for k, g := range rxs {
				for i, d := range receive(t, g, len(want[k])) {
					if d.data != want[k][i] {
						t.Fatalf("seed %d, round %d, receiver %d: datagram %d of %d has %d bytes, want %d",
							seed, round, k, i, len(want[k]), len(d.data), len(want[k][i]))
					}
				}
			}
		}
	})
}

func TestClose(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			g := open(t, "127.0.0.1:0", m.set, func(c *Config) { c.Workers = 3 })
			var wg sync.WaitGroup
			errs := make([]error, g.Len())
			for i := range g.Len() {
				wg.Go(func() { errs[i] = g.Conn(i).ReadBatch(NewBatch()) })
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			wg.Wait()
			for i, err := range errs {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("reader %d: %v, want net.ErrClosed", i, err)
				}
			}
			if err := g.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			w := g.Conn(0).NewWriter()
			w.Add([]byte("late"), 0, g.LocalAddr())
			if err := w.Flush(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Flush after Close: %v, want net.ErrClosed", err)
			}
			if err := w.Flush(); err != nil {
				t.Errorf("empty Flush after Close: %v", err)
			}
			// What a full Writer sends by itself fails too, and the next Flush says so.
			for range WriterSlots + 1 {
				w.Add([]byte("late"), 0, g.LocalAddr())
			}
			if err := w.Flush(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Flush after Close and a full queue: %v, want net.ErrClosed", err)
			}
		})
	}
}

func TestWritersShareConn(t *testing.T) {
	const writers, rounds = 4, 50
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			rx, tx := open(t, "127.0.0.1:0", m.set), open(t, "127.0.0.1:0", m.set)
			var wg sync.WaitGroup
			for i := range writers {
				wg.Go(func() {
					w := tx.Conn(0).NewWriter()
					var msg [8]byte
					for r := range rounds {
						binary.BigEndian.PutUint32(msg[:], uint32(i))
						binary.BigEndian.PutUint32(msg[4:], uint32(r))
						w.Add(msg[:], 0, rx.LocalAddr())
						if err := w.Flush(); err != nil {
							t.Error(err)
						}
					}
				})
			}
			var next [writers]uint32
			for _, d := range receive(t, rx, writers*rounds) {
				i, r := binary.BigEndian.Uint32([]byte(d.data)), binary.BigEndian.Uint32([]byte(d.data[4:]))
				if r != next[i] {
					t.Errorf("writer %d: datagram %d, want %d", i, r, next[i])
				}
				next[i] = r + 1
			}
			wg.Wait()
		})
	}
}

func TestOneBadAddressCostsOnlyItself(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			rx, tx := open(t, "127.0.0.1:0", m.set), open(t, "127.0.0.1:0", m.set)
			to := rx.LocalAddr()
			w := tx.Conn(0).NewWriter()
			var told []string
			w.OnDrop = func(to netip.AddrPort, size int, r DropReason) {
				told = append(told, fmt.Sprint(to, " ", size, " ", r))
			}
			w.Add([]byte("one"), 0, to)
			w.Add([]byte("twotwo"), 3, netip.AddrPort{})
			w.Add([]byte("three"), 0, netip.MustParseAddrPort("[2001:db8::1]:9"))
			w.Add([]byte("four"), 0, netip.AddrPortFrom(to.Addr(), 0))
			w.Add(bytes.Repeat([]byte("5"), 2000), 1000, netip.MustParseAddrPort("0.0.0.0:0"))
			w.Add([]byte("six"), 0, to)
			w.Add(nil, 0, to)
			flush(t, w)
			got := receive(t, rx, 2)
			if got[0].data != "one" || got[1].data != "six" {
				t.Errorf("received %v", got)
			}
			want := []string{"invalid AddrPort 3 bad_address", "[2001:db8::1]:9 5 bad_address", to.Addr().String() + ":0 4 bad_address", "0.0.0.0:0 1000 bad_address"}
			if fmt.Sprint(told) != fmt.Sprint(want) {
				t.Errorf("told\n%q, want\n%q", told, want)
			}
			if n := tx.Stats().Drops[DropBadAddress]; n != 6 {
				t.Errorf("%d datagrams counted, want 6", n)
			}
		})
	}
}
