package link

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A streamEnd is one end of a stream under test.
type streamEnd struct {
	*stream
	wg     sync.WaitGroup
	closed chan error
}

// startStream runs a stream over conn. Time stands still for it, so that CoDel
// drops nothing. Either callback may be nil.
func startStream(conn net.Conn, send, recv byte, onBurst func(*Burst), onControl func(s *stream, pkt []byte)) *streamEnd {
	e := &streamEnd{closed: make(chan error, 2)}
	ready := make(chan struct{})
	cfg := streamConfig{
		link: new(Link), pool: new(streamPool), wg: &e.wg, queueLimit: 256 << 20,
		now: func() int64 { return 0 }, tx: func() *Tx { return nil }, put: func(*Tx) {},
		onBurst: func(b *Burst) {
			if onBurst != nil {
				onBurst(b)
			}
		},
		onControl: func(pkt []byte, _ int64) {
			if <-ready; onControl != nil {
				onControl(e.stream, pkt)
			}
		},
		onClosed: func(err error) { e.closed <- err },
	}
	e.stream = newStream(conn, testSendKey(send), testRecvKey(recv), cfg)
	close(ready)
	return e
}

func testSendKey(b byte) *noise.SendKey { return noise.NewSendKey([32]byte{b}) }
func testRecvKey(b byte) *noise.RecvKey { return noise.NewRecvKey([32]byte{b}) }

// stop closes the ends and waits for their goroutines.
func stop(ends ...*streamEnd) {
	for _, e := range ends {
		e.close(net.ErrClosed)
	}
	for _, e := range ends {
		e.wg.Wait()
	}
}

// carriers are the two kinds of connection: with a socket to write to without
// waiting, and without.
var carriers = []struct {
	name string
	pair func(t testing.TB) (a, b net.Conn)
}{
	{"tcp", tcpPair},
	{"pipe", func(testing.TB) (a, b net.Conn) { return net.Pipe() }},
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// testFrames lays out one route packet per size as Tx does; all sizes but the last
// are the same. Each packet carries the next number of its flow, *n, and bytes that
// follow from it.
func testFrames(label uint32, n *uint32, sizes ...int) item {
	it := item{buf: packet.GetBuf(), n: len(sizes), seg: sizes[0] + packet.FrameOverhead}
	for _, size := range sizes {
		p := it.buf.B[it.used+packet.FrameHeaderLen:][:size]
		binary.BigEndian.PutUint32(p, label)
		binary.BigEndian.PutUint32(p[4:], *n)
		for i := range p[8:] {
			p[8+i] = byte(*n) + byte(i)
		}
		*n++
		it.used += size + packet.FrameOverhead
	}
	return it
}

// randomSizes returns sizes for an item of a random shape.
func randomSizes(r *rand.Rand) []int {
	size := packet.RouteAlign * (1 + r.IntN(packet.MaxRoutePacket/packet.RouteAlign))
	if r.IntN(3) > 0 {
		size = packet.RouteAlign * (1 + r.IntN(100))
	}
	sizes := make([]int, 1+r.IntN(packet.BufCap/(size+packet.FrameOverhead)))
	for i := range sizes {
		sizes[i] = size
	}
	sizes[len(sizes)-1] = packet.RouteAlign * (1 + r.IntN(size/packet.RouteAlign))
	return sizes
}

// A flowChecker takes bursts and checks that each flow is whole and in order.
type flowChecker struct {
	t    *testing.T
	next map[uint32]uint32
	seen atomic.Int64
	came chan struct{} // a burst has been checked
}

func newFlowChecker(t *testing.T) *flowChecker {
	return &flowChecker{t: t, next: map[uint32]uint32{}, came: make(chan struct{}, 1)}
}

func (c *flowChecker) burst(b *Burst) {
	for _, p := range b.Pkt[:b.N] {
		flow, n := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
		if want := c.next[flow]; n != want {
			c.t.Errorf("flow %d: packet %d, want %d", flow, n, want)
		}
		c.next[flow] = n + 1
		for i, v := range p[8:] {
			if v != byte(n)+byte(i) {
				c.t.Errorf("flow %d: byte %d of packet %d is damaged", flow, 8+i, n)
				break
			}
		}
	}
	c.seen.Add(int64(b.N))
	select {
	case c.came <- struct{}{}:
	default:
	}
}

// wait returns when n packets have come, or with a failure when the stream ends.
func (c *flowChecker) wait(n int64, e *streamEnd) {
	c.t.Helper()
	for c.seen.Load() < n {
		select {
		case <-c.came:
		case err := <-e.closed:
			c.t.Fatalf("the stream ended after %d of %d packets: %v", c.seen.Load(), n, err)
		}
	}
}

// TestStreamCarriesEverything sends items of every shape from several goroutines,
// with control between, and wants each packet once, whole and in the order of its
// flow.
func TestStreamCarriesEverything(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.name, func(t *testing.T) {
			const senders, items, seed = 4, 200, 5
			c := newFlowChecker(t)
			var controls, sent atomic.Int64
			ca, cb := carrier.pair(t)
			a := startStream(ca, 1, 2, nil, nil)
			b := startStream(cb, 2, 1, c.burst, func(*stream, []byte) { controls.Add(1) })
			defer stop(a, b)
			var wg sync.WaitGroup
			for f := range uint32(senders) {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(f)))
					var n uint32
					for i := range items {
						a.enqueue(nil, testFrames(f+1, &n, randomSizes(r)...))
						if i%50 == 0 {
							a.sendControl(make([]byte, 32))
						}
					}
					sent.Add(int64(n))
				})
			}
			wg.Wait()
			if n := a.cfg.link.txDrops.Load(); n > 0 {
				t.Fatalf("%d packets were dropped", n)
			}
			c.wait(sent.Load(), b)
			if n := c.seen.Load(); n != sent.Load() || controls.Load() != senders*items/50 {
				t.Errorf("%d packets and %d control packets came, want %d and %d", n, controls.Load(), sent.Load(), senders*items/50)
			}
			if l := a.cfg.link; l.txDrops.Load() != 0 || l.txPackets.Load() != uint64(sent.Load()) {
				t.Errorf("counted %d packets sent and %d dropped, want %d and 0", l.txPackets.Load(), l.txDrops.Load(), sent.Load())
			}
		})
	}
}

// TestStreamRekeyUnderLoad changes the key as often as the other end can follow,
// while data flows: nothing may be lost, damaged or out of order.
func TestStreamRekeyUnderLoad(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.name, func(t *testing.T) {
			const rekeys = 100
			c := newFlowChecker(t)
			switched := make(chan byte)
			ca, cb := carrier.pair(t)
			a := startStream(ca, 1, 2, nil, nil)
			b := startStream(cb, 2, 1, c.burst, func(s *stream, pkt []byte) {
				s.switchRecv(testRecvKey(pkt[15]))
				switched <- pkt[15]
			})
			defer stop(a, b)
			quit := make(chan struct{})
			var wg sync.WaitGroup
			var sent [2]uint32
			var all atomic.Int64
			for f := range sent {
				wg.Go(func() {
					for {
						select {
						case <-quit:
							return
						default:
						}
						if all.Load()-c.seen.Load() > 500 { // the queue must not run over
							runtime.Gosched()
							continue
						}
						all.Add(3)
						a.enqueue(nil, testFrames(uint32(f+1), &sent[f], 1408, 1408, 512))
					}
				})
			}
			for i := range rekeys {
				pkt := make([]byte, 16)
				pkt[15] = byte(3 + i)
				a.switchSend(pkt, testSendKey(pkt[15]))
				select {
				case k := <-switched:
					if k != pkt[15] {
						t.Fatalf("key %d arrived, want %d", k, pkt[15])
					}
				case err := <-b.closed:
					t.Fatalf("after %d key changes: %v", i, err)
				}
			}
			close(quit)
			wg.Wait()
			if n := a.cfg.link.txDrops.Load(); n > 0 {
				t.Fatalf("%d packets were dropped", n)
			}
			c.wait(all.Load(), b)
		})
	}
}

// readRecord reads one record as raw bytes and opens it with independent means.
func readRecord(t *testing.T, conn net.Conn, key byte, counter uint64) (pkts [][]byte) {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	text, err := testRecvKey(key).Open(nil, body, head[:], new(noise.Nonce), 0, counter)
	if err != nil {
		t.Fatalf("record %d of %d bytes: %v", counter, len(body), err)
	}
	if len(text) > 65536 {
		t.Errorf("record %d has a text of %d bytes", counter, len(text))
	}
	for len(text) > 0 {
		n := 2 + int(binary.BigEndian.Uint16(text))
		pkts = append(pkts, text[2:n])
		text = text[n:]
	}
	return pkts
}

// appendRecord makes a record of any text with independent means.
func appendRecord(b []byte, text []byte, key byte, counter uint64) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(text)+16))
	return append(append(b, head...), testSendKey(key).Seal(nil, text, head, new(noise.Nonce), 0, counter)...)
}

// prefixed returns packets as a record's text.
func prefixed(pkts ...[]byte) (text []byte) {
	for _, p := range pkts {
		text = append(binary.BigEndian.AppendUint16(text, uint16(len(p))), p...)
	}
	return text
}

// TestStreamPacksWhatWaits: what is queued while a write is under way leaves in as
// few records as it fits into, control first, and a key change alone before that.
func TestStreamPacksWhatWaits(t *testing.T) {
	ca, cb := net.Pipe() // nobody reads yet, so the first record is stuck
	a := startStream(ca, 1, 2, nil, nil)
	defer stop(a)
	var n uint32
	a.enqueue(nil, testFrames(7, &n, 64))
	first := make([]byte, 1)
	if _, err := cb.Read(first); err != nil { // now it is being written
		t.Fatal(err)
	}
	for range 100 {
		a.enqueue(nil, testFrames(7, &n, 1408))
	}
	a.enqueue(nil, testFrames(7, &n, packet.MaxRoutePacket))
	a.sendControl(make([]byte, 16))
	a.sendControl(make([]byte, 32))
	a.switchSend(make([]byte, 48), testSendKey(9))

	rest := &prepended{Conn: cb, first: first}
	want := []struct {
		key     byte
		counter uint64
		sizes   []int // of the first packets
		n       int
	}{
		{1, 0, []int{64}, 1},
		{1, 1, []int{48}, 1},
		{9, 0, []int{16, 32, 1408}, 2 + 46},
		{9, 1, []int{1408}, 46},
		{9, 2, []int{1408}, 8},
		{9, 3, []int{packet.MaxRoutePacket}, 1},
	}
	for _, w := range want {
		pkts := readRecord(t, rest, w.key, w.counter)
		if len(pkts) != w.n {
			t.Fatalf("record %d under key %d has %d packets, want %d", w.counter, w.key, len(pkts), w.n)
		}
		for i, size := range w.sizes {
			if len(pkts[i]) != size {
				t.Errorf("record %d under key %d: packet %d has %d bytes, want %d", w.counter, w.key, i, len(pkts[i]), size)
			}
		}
	}
}

// prepended is a connection of which a byte has been read already.
type prepended struct {
	net.Conn
	first []byte
}

func (p *prepended) Read(b []byte) (int, error) {
	if n := copy(b, p.first); n > 0 {
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// TestStreamCutsFullBuf: Tx fills a Buf with two frames of 32,800 bytes, 68 more
// than the text of one record.
func TestStreamCutsFullBuf(t *testing.T) {
	ca, cb := tcpPair(t)
	c := newFlowChecker(t)
	a, b := startStream(ca, 1, 2, nil, nil), startStream(cb, 2, 1, c.burst, nil)
	defer stop(a, b)
	var n uint32
	a.enqueue(nil, testFrames(7, &n, 32800, 32800))
	c.wait(2, b)
}

// TestStreamBadRecords: whatever does not open or parse to its end ends the
// connection, and nothing of it is delivered; what came before is.
func TestStreamBadRecords(t *testing.T) {
	pkt := binary.BigEndian.AppendUint32(nil, 1)
	pkt = append(pkt, make([]byte, 12)...)
	good := appendRecord(nil, prefixed(pkt, pkt), 1, 0)
	forged := appendRecord(nil, prefixed(pkt), 1, 1)
	forged[10] ^= 1
	length := appendRecord(nil, prefixed(pkt), 1, 1)
	length[3]--
	tests := []struct {
		name string
		rec  []byte
	}{
		{"forged", forged},
		{"length changed", append(length, 0)},
		{"replayed", good},
		{"other key", appendRecord(nil, prefixed(pkt), 2, 1)},
		{"length 0", []byte{0, 0, 0, 0}},
		{"length below one packet", []byte{0, 0, 0, 33}},
		{"length above the largest", []byte{0, 1, 0, 17}},
		{"length enormous", []byte{0xff, 0xff, 0xff, 0xff}},
		{"packet beyond the end", appendRecord(nil, append(prefixed(pkt), 0, 32, 1, 2, 3), 1, 1)},
		{"half a prefix", appendRecord(nil, append(prefixed(pkt), 0), 1, 1)},
		{"empty packet", appendRecord(nil, append(prefixed(pkt), 0, 0), 1, 1)},
		{"packet not padded", appendRecord(nil, prefixed(append(pkt, 1)), 1, 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ca, cb := tcpPair(t)
			defer cb.Close()
			var packets atomic.Int64
			a := startStream(ca, 2, 1, func(b *Burst) { packets.Add(int64(b.N)) }, nil)
			defer stop(a)
			if _, err := cb.Write(append(good[:len(good):len(good)], tt.rec...)); err != nil {
				t.Fatal(err)
			}
			if err := <-a.closed; !errors.Is(err, errRecord) {
				t.Errorf("the stream ended with %v, want errRecord", err)
			}
			if packets.Load() != 2 {
				t.Errorf("%d packets were delivered, want the 2 good ones", packets.Load())
			}
		})
	}
}

// TestStreamManyPacketsPerRecord: more packets than a Burst takes.
func TestStreamManyPacketsPerRecord(t *testing.T) {
	ca, cb := tcpPair(t)
	c := newFlowChecker(t)
	a, b := startStream(ca, 1, 2, nil, nil), startStream(cb, 2, 1, c.burst, nil)
	defer stop(a, b)
	sizes := make([]int, 1000)
	for i := range sizes {
		sizes[i] = 16
	}
	var n uint32
	a.enqueue(nil, testFrames(7, &n, sizes...))
	c.wait(1000, b)
}

func TestStreamEnds(t *testing.T) {
	errTest := errors.New("enough")
	for _, carrier := range carriers {
		t.Run("closed here, "+carrier.name, func(t *testing.T) {
			ca, cb := carrier.pair(t)
			defer cb.Close()
			a := startStream(ca, 1, 2, nil, nil)
			var n, m uint32
			for range 200 { // far more than the socket takes: nobody reads
				a.enqueue(nil, testFrames(1, &n, packet.MaxRoutePacket))
				a.enqueue(nil, testFrames(2, &m, 64))
			}
			a.sendControl(make([]byte, 16))
			a.close(errTest)
			a.close(io.EOF)
			a.wg.Wait()
			if err := <-a.closed; !errors.Is(err, errTest) {
				t.Errorf("onClosed got %v, want the first error", err)
			}
			if len(a.closed) != 0 {
				t.Error("onClosed was called twice")
			}
			a.enqueue(nil, testFrames(1, &n, 64))
			l := a.cfg.link
			if sum := l.txPackets.Load() + l.txDrops.Load(); sum != uint64(n)+uint64(m) {
				t.Errorf("%d packets sent and %d dropped of %d", l.txPackets.Load(), l.txDrops.Load(), n+m)
			}
			if a.out.rec.buf != nil || a.out.has || a.queue.Len() != 0 || a.in.buf != nil || a.writing {
				t.Error("a closed stream holds on to slabs")
			}
		})
		t.Run("closed there, "+carrier.name, func(t *testing.T) {
			ca, cb := carrier.pair(t)
			a := startStream(ca, 1, 2, nil, nil)
			defer stop(a)
			_ = cb.Close()
			if err := <-a.closed; !errors.Is(err, io.EOF) {
				t.Errorf("onClosed got %v, want EOF", err)
			}
		})
	}
}

// TestStreamBoundsControl: a peer that asks and does not read costs little.
func TestStreamBoundsControl(t *testing.T) {
	ca, cb := net.Pipe()
	defer cb.Close()
	a := startStream(ca, 1, 2, nil, nil)
	defer stop(a)
	for range 10_000 {
		a.sendControl(make([]byte, 16))
	}
	a.mu.Lock()
	if n := len(a.control); n > maxControl || n == 0 {
		t.Errorf("%d bytes of control wait, want at most %d", n, maxControl)
	}
	a.mu.Unlock()
	for range maxSwitches + 2 { // one of them may be on its way
		a.switchSend(make([]byte, 16), testSendKey(3))
	}
	if err := <-a.closed; !errors.Is(err, errSwitches) {
		t.Errorf("endless key changes end with %v, want errSwitches", err)
	}
}

// FuzzRecordText compares the parser with a slow obvious one.
func FuzzRecordText(f *testing.F) {
	f.Add(prefixed(make([]byte, 16), make([]byte, 48)))
	f.Add(prefixed(make([]byte, 15)))
	f.Add(prefixed(make([]byte, packet.MaxRoutePacket)))
	f.Add([]byte{0, 16})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		var want [][]byte
		ok := len(text) > 0
		for rest := text; len(rest) > 0 && ok; {
			if ok = len(rest) >= 2; !ok {
				break
			}
			n := int(rest[0])<<8 | int(rest[1])
			if ok = n >= 16 && n%16 == 0 && 2+n <= len(rest); ok {
				want = append(want, rest[2:2+n])
				rest = rest[2+n:]
			}
		}
		if validText(text) != ok {
			t.Fatalf("validText = %v, want %v", !ok, ok)
		}
		if !ok {
			return
		}
		var got [][]byte
		for rest := text; len(rest) > 0; {
			var p []byte
			p, rest = nextPacket(rest)
			got = append(got, p)
		}
		if string(prefixed(got...)) != string(text) || len(got) != len(want) {
			t.Fatalf("%d packets, want %d", len(got), len(want))
		}
	})
}

// FuzzStream feeds a stream anything, cut in two anywhere.
func FuzzStream(f *testing.F) {
	f.Add(appendRecord(nil, prefixed(make([]byte, 16)), 1, 0), uint16(3))
	f.Add(appendRecord(appendRecord(nil, prefixed(make([]byte, 160)), 1, 0), []byte{1}, 1, 1), uint16(40))
	f.Add([]byte{0, 1, 0, 16, 9}, uint16(2))
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		ca, cb := net.Pipe()
		a := startStream(ca, 2, 1, nil, nil)
		at := min(int(cut), len(data))
		_, _ = cb.Write(data[:at])
		_, _ = cb.Write(data[at:])
		_ = cb.Close()
		if err := <-a.closed; err == nil {
			t.Error("the stream ended without an error")
		}
		stop(a)
	})
}
