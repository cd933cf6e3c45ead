package netstack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A collector keeps the packets that a coalescer delivers.
type collector struct{ pkts [][]byte }

func (c *collector) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	v := pkt.ToView()
	c.pkts = append(c.pkts, v.ToSlice())
	v.Release()
}

// segment builds a TCP segment.
func segment(sport uint16, seq uint32, flags uint8, opts string, data []byte) []byte {
	b := make([]byte, 20, 20+len(opts)+len(data))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], 80)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], 7)
	b[12] = uint8((20 + len(opts)) / 4 << 4)
	b[13] = flags
	binary.BigEndian.PutUint16(b[14:], 1000)
	return append(append(b, opts...), data...)
}

func with(b []byte, off int, v byte) []byte { b[off] = v; return b }

func TestCoalesce(t *testing.T) {
	full, half := bytes.Repeat([]byte{'f'}, 1000), bytes.Repeat([]byte{'h'}, 500)
	const ack, ackPsh, ackFin = flagACK, flagACK | flagPSH, flagACK | flagFIN
	const ts, ts2 = "\x01\x01\x08\x0a12345678", "\x01\x01\x08\x0a12345679"
	tests := []struct {
		name string
		in   [][]byte
		want string // data bytes and flags of each packet, in order
	}{
		{"in order", [][]byte{segment(1, 0, ack, ts, full), segment(1, 1000, ack, ts, full)}, "2000/10"},
		{"short one ends", [][]byte{segment(1, 0, ack, "", full), segment(1, 1000, ack, "", half), segment(1, 1500, ack, "", half)}, "1500/10 500/10"},
		{"longer one starts", [][]byte{segment(1, 0, ack, "", half), segment(1, 500, ack, "", full)}, "500/10 1000/10"},
		{"push ends and stays", [][]byte{segment(1, 0, ack, "", full), segment(1, 1000, ackPsh, "", full), segment(1, 2000, ack, "", full)}, "2000/18 1000/10"},
		{"fin ends and stays", [][]byte{segment(1, 0, ack, "", full), segment(1, 1000, ackFin, "", half)}, "1500/11"},
		{"gap", [][]byte{segment(1, 0, ack, "", full), segment(1, 2000, ack, "", full)}, "1000/10 1000/10"},
		{"duplicate", [][]byte{segment(1, 0, ack, "", full), segment(1, 0, ack, "", full)}, "1000/10 1000/10"},
		{"other options", [][]byte{segment(1, 0, ack, ts, full), segment(1, 1000, ack, ts2, full)}, "1000/10 1000/10"},
		{"other acknowledgement", [][]byte{segment(1, 0, ack, "", full), with(segment(1, 1000, ack, "", full), 11, 8)}, "1000/10 1000/10"},
		{"other window", [][]byte{segment(1, 0, ack, "", full), with(segment(1, 1000, ack, "", full), 15, 1)}, "1000/10 1000/10"},
		{"reset", [][]byte{segment(1, 0, ack, "", full), segment(1, 1000, ack|4, "", nil)}, "1000/10 0/14"},
		{"urgent", [][]byte{segment(1, 0, ack, "", full), segment(1, 1000, ack|0x20, "", full)}, "1000/10 1000/30"},
		{"pure acknowledgements", [][]byte{segment(1, 0, ack, "", nil), segment(1, 0, ack, "", nil)}, "0/10 0/10"},
		{"acknowledgement between", [][]byte{segment(1, 0, ack, "", full), segment(1, 1000, ack, "", nil), segment(1, 1000, ack, "", full)}, "1000/10 0/10 1000/10"},
		{"two flows", [][]byte{segment(1, 0, ack, "", full), segment(2, 0, ack, "", half), segment(1, 1000, ack, "", full), segment(2, 500, ack, "", half)}, "2000/10 1000/10"},
		{"too much for one packet", slices.Repeat([][]byte{segment(1, 0, ack, "", full)}, 70), ""},
	}
	for i := range tests[len(tests)-1].in {
		tests[len(tests)-1].in[i] = segment(1, uint32(1000*i), ack, "", full)
	}
	tests[len(tests)-1].want = "65000/10 5000/10"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out collector
			c := &coalescer{up: &out}
			if n := c.burst(tt.in); n != 0 {
				t.Errorf("%d malformed", n)
			}
			var got []string
			for _, p := range out.pkts {
				tcp := p[ipv6Len:]
				got = append(got, fmt.Sprintf("%d/%02x", len(tcp)-int(tcp[12]>>4)*4, tcp[13]))
				if int(binary.BigEndian.Uint16(p[4:])) != len(tcp) {
					t.Errorf("IPv6 says %d bytes, there are %d", binary.BigEndian.Uint16(p[4:]), len(tcp))
				}
			}
			if s := fmt.Sprint(got); s != "["+tt.want+"]" {
				t.Errorf("got %s, want [%s]", s, tt.want)
			}
		})
	}
}

func TestCoalesceMalformed(t *testing.T) {
	good := segment(1, 0, flagACK, "", []byte("x"))
	bad := [][]byte{
		nil,
		good[:19],
		with(bytes.Clone(good), 12, 4<<4),  // a header of 16 bytes
		with(bytes.Clone(good), 12, 15<<4), // longer than the segment
		make([]byte, 65536),
	}
	var out collector
	c := &coalescer{up: &out}
	if n := c.burst(bad); n != len(bad) || len(out.pkts) != 0 {
		t.Errorf("%d of %d malformed, %d delivered", n, len(bad), len(out.pkts))
	}
}

// Whatever is merged, each flow's segments come out complete and in order: the
// model writes down which byte stands at which sequence number, in order.
func TestCoalesceModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var in [][]byte
		next := map[uint16]uint32{}
		for range 1 + rng.IntN(100) {
			port := uint16(rng.IntN(12))
			data := make([]byte, []int{0, 300, 300, 300, 300, 100}[rng.IntN(6)])
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			flags := flagACK
			if rng.IntN(10) == 0 {
				flags |= []uint8{flagPSH, flagFIN, 0x20, 0x80}[rng.IntN(4)]
			}
			in = append(in, segment(port, next[port], flags, "", data))
			if rng.IntN(20) > 0 {
				next[port] += uint32(len(data))
			}
		}
		var out collector
		(&coalescer{up: &out}).burst(in)
		for i := range out.pkts {
			out.pkts[i] = out.pkts[i][ipv6Len:]
		}
		if got, want := events(out.pkts), events(in); got != want {
			t.Fatalf("round %d: got\n%s, want\n%s", round, got, want)
		}
		if len(out.pkts) > len(in) {
			t.Fatalf("round %d: %d packets of %d", round, len(out.pkts), len(in))
		}
	}
}

// events lists what each flow's segments say, byte by byte.
func events(segs [][]byte) string {
	perFlow := map[uint16][]byte{}
	for _, s := range segs {
		port := binary.BigEndian.Uint16(s)
		hl := int(s[12]>>4) * 4
		e := perFlow[port]
		for i, b := range s[hl:] {
			e = append(binary.BigEndian.AppendUint32(e, binary.BigEndian.Uint32(s[4:])+uint32(i)), b)
		}
		if special := s[13] &^ flagACK; special != 0 || len(s) == hl {
			e = append(e, '!', special)
		}
		perFlow[port] = e
	}
	return fmt.Sprint(perFlow)
}

// FuzzDeliver feeds a stack with a listener whatever a hostile peer may send.
func FuzzDeliver(f *testing.F) {
	syn := segment(9, 100, 2, "\x02\x04\x05\x28\x04\x02\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x00\x01\x03\x03\x0b", nil)
	f.Add(uint8(1), uint16(32), append(bytes.Clone(syn), segment(9, 101, flagACK, "", []byte("hello"))...))
	f.Add(uint8(1), uint16(40), syn)
	f.Add(uint8(1), uint16(32), segment(9, 100, 2, "\x02\x00\x08\xff\x05\x0a\x01\x01\x01\x01\x01\x01", []byte("x")))
	f.Add(uint8(2), uint16(20), []byte("\x00\x09\x00\x50datagram"))
	f.Add(uint8(3), uint16(20), []byte("\x80\x00\x00\x00ping"))
	p := newPair(f, fault{})
	l, err := p.b.Listen(80)
	if err != nil {
		f.Fatal(err)
	}
	u, err := p.b.ListenPacket(80)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	from := p.b.cfg.Network.(*fakeNetwork).byKey(p.a.cfg.PubKey)
	f.Fuzz(func(_ *testing.T, proto uint8, size uint16, data []byte) {
		// data in pieces of size bytes, the last one shorter
		var burst [][]byte
		for chunk := range slices.Chunk(data, max(int(size), 1)) {
			burst = append(burst, chunk)
		}
		p.b.Deliver(from, proto, burst)
	})
}

func BenchmarkCoalesce(b *testing.B) {
	var burst [][]byte
	data := make([]byte, 1364)
	for i := range 44 {
		burst = append(burst, segment(1, uint32(i*len(data)), flagACK, "\x01\x01\x08\x0a12345678", data))
	}
	c := &coalescer{up: discard{}}
	b.SetBytes(int64(44 * len(data)))
	b.ReportAllocs()
	for b.Loop() {
		c.burst(burst)
	}
}

// Segments go through gVisor's pools: nothing is allocated per segment.
func TestCoalesceAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools drop items at random")
	}
	var burst [][]byte
	data := make([]byte, 1364)
	for i := range 44 {
		burst = append(burst, segment(1, uint32(i*len(data)), flagACK, "", data))
	}
	c := &coalescer{up: discard{}}
	n := testing.AllocsPerRun(10, func() {
		for range 100 {
			c.burst(burst)
		}
	})
	if n > 150 { // a packet buffer's view or two per merged packet, and what a GC takes from the pools
		t.Errorf("%v allocations per 100 bursts of 44 segments", n)
	}
}

type discard struct{}

func (discard) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

func TestDeliverCountsDrops(t *testing.T) {
	p := newPair(t, fault{})
	from := p.b.cfg.Network.(*fakeNetwork).byKey(p.a.cfg.PubKey)
	p.b.Deliver(from, packet.ProtoTCP, [][]byte{{1}, {2}})
	p.b.Deliver(from, packet.ProtoUDP, [][]byte{{1}, {0, 1, 0, 2, 'x'}})
	p.b.Deliver(from, packet.ProtoICMP, [][]byte{{128}})
	got := p.b.Drops()
	for r, want := range map[DropReason]uint64{DropMalformed: 3, DropNoPort: 1, DropProto: 1} {
		if got[r] != want {
			t.Errorf("%v: %d, want %d", r, got[r], want)
		}
	}
}

func TestParseAddr(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	want := Addr{PK: pk, Port: 80}
	for _, s := range []string{want.String(), pk.Label() + ":80", pk.Label() + ".skynet:80"} {
		if got, err := ParseAddr(s); err != nil || got != want {
			t.Errorf("ParseAddr(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", ":80", pk.String(), pk.String() + ":", pk.String() + ":0", pk.String() + ":65536", pk.String() + ":+8", "x" + pk.String() + ":80", pk.Label()[1:] + ":80"} {
		if got, err := ParseAddr(s); err == nil {
			t.Errorf("ParseAddr(%q) = %v, want an error", s, got)
		}
	}
}

func TestLimitFor(t *testing.T) {
	const total = 256 << 20
	for n := 1; n < 3000; n++ {
		l := limitFor(total, n)
		if l < minBuffer || l > maxBuffer {
			t.Fatalf("%d streams: limit %d", n, l)
		}
		if l > minBuffer && int64(2*n)*int64(l) > total {
			t.Fatalf("%d streams of 2×%d bytes: more than %d", n, l, total)
		}
	}
	if l := limitFor(total, 0); l != maxBuffer {
		t.Errorf("no streams: limit %d", l)
	}
}
