package link

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// An auditor is a Handler that expects packets of a loader and keeps nothing of them.
type auditor struct {
	*sink
	good, bad atomic.Int64
	mu        sync.Mutex
	seen      map[uint64]bool
	twice     int
}

func newAuditor() *auditor { return &auditor{sink: newSink(), seen: map[uint64]bool{}} }

// Events nobody waits for must not fill the sink's channel.
func (c *auditor) Detach(*Link)          {}
func (c *auditor) LinkUp(*Link)          {}
func (c *auditor) LinkDown(*Link, error) {}

func (c *auditor) HandleBurst(b *Burst) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range b.Pkt[:b.N] {
		n := len(p)
		if crc32.ChecksumIEEE(p[:n-4]) != binary.BigEndian.Uint32(p[n-4:]) {
			c.bad.Add(1)
			continue
		}
		id := binary.BigEndian.Uint64(p[8:])
		if c.seen[id] {
			c.twice++
		}
		c.seen[id] = true
		c.good.Add(1)
	}
}

// A loader sends numbered, checksummed packets until it is stopped.
type loader struct {
	sent atomic.Int64
	stop func()
}

// load starts a goroutine that sends bursts of n packets of size bytes on l, one
// every pause. Its numbers begin at first.
func load(t testing.TB, l *Link, first uint64, n, size int, pause time.Duration) *loader {
	ld := &loader{}
	quit, done := make(chan struct{}), make(chan struct{})
	ld.stop = sync.OnceFunc(func() { close(quit); <-done })
	t.Cleanup(ld.stop)
	go func() {
		defer close(done)
		tx := l.e.GetTx()
		defer l.e.PutTx(tx)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for id := first; ; {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			tx.Start(l)
			for range n {
				p := tx.Packet(size)
				clear(p)
				packet.RouteHeader{Label: 9, Kind: packet.KindData, Length: uint16(size - packet.RouteHeaderLen)}.Put(p)
				binary.BigEndian.PutUint64(p[8:], id)
				binary.BigEndian.PutUint32(p[size-4:], crc32.ChecksumIEEE(p[:size-4]))
				id++
			}
			if tx.Flush() == nil {
				ld.sent.Add(int64(n))
			}
		}
	}()
	return ld
}

// until waits for a condition of another goroutine's making.
func until(t testing.TB, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// progress waits until c has got n packets more.
func (c *auditor) progress(t testing.TB, n int64) {
	t.Helper()
	from := c.good.Load()
	until(t, 10*time.Second, "packets arrive", func() bool { return c.good.Load() >= from+n })
}

// through connects a to b by way of a proxy.
func through(t testing.TB, a, b *node) (*proxy, *Link, *Link) {
	t.Helper()
	p := newProxy(t, b.UDPAddr())
	l, err := a.AddLink(b.pk, SUDPH, p.addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "both ends are up", func() bool { return len(b.Links()) == 1 && b.Links()[0].Up() })
	return p, l, b.Links()[0]
}

// TestMangledDatagrams does to a live link under load all that a network can do to
// datagrams. The transfer goes on, nothing false or double arrives, and each fault
// is counted by its name.
func TestMangledDatagrams(t *testing.T) {
	t.Parallel()
	b := newAuditor()
	an, bn := newNode(t, nil), startNode(t, b, b.sink, nil)
	p, ab, _ := through(t, an, bn)
	ld := load(t, ab, 0, 20, 512, time.Millisecond)
	b.progress(t, 100)

	var kept [][]byte
	var keptMu sync.Mutex
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		keptMu.Lock()
		defer keptMu.Unlock()
		if len(kept) < 64 {
			kept = append(kept, append([]byte(nil), pkt...))
		}
		switch rand.IntN(16) {
		case 0: // lost
			return nil
		case 1: // twice
			return [][]byte{pkt, pkt}
		case 2: // truncated anywhere
			return [][]byte{pkt[:rand.IntN(len(pkt))]}
		case 3: // one bit flipped anywhere
			pkt[rand.IntN(len(pkt))] ^= 1 << rand.IntN(8)
			return [][]byte{pkt}
		case 4: // noise in front
			junk := make([]byte, 1+rand.IntN(200))
			for i := range junk {
				junk[i] = byte(rand.Uint32())
			}
			junk[0] = byte(packet.FrameData) + byte(rand.IntN(6))
			return [][]byte{junk, pkt}
		case 5: // an old one again, and out of order
			return [][]byte{kept[rand.IntN(len(kept))], pkt}
		case 6: // longer than it was
			return [][]byte{append(pkt, 0, 1, 2, 3)}
		}
		return [][]byte{pkt}
	})
	b.progress(t, 20000)
	p.setMangle(pass)
	b.progress(t, 2000)
	ld.stop()

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.twice > 0 || b.bad.Load() > 0 {
		t.Errorf("%d packets arrived twice, %d damaged", b.twice, b.bad.Load())
	}
	for _, name := range []string{"malformed", "unknown_index", "replay", "auth"} {
		if bn.Drops()[name] == 0 {
			t.Errorf("no drop counted as %s in %v", name, bn.Drops())
		}
	}
	if got, most := float64(b.good.Load()), float64(ld.sent.Load()); got < most/2 {
		t.Errorf("%v of %v packets arrived", got, most)
	}
}

// shortLimits rekey each second.
func shortLimits(c *Config) {
	c.Limits = noise.Limits{
		RekeyAfter: time.Second, TakeoverAfter: 3 * time.Second / 2, RejectAfter: 3 * time.Second,
		ConfirmWithin: time.Second, RekeyPackets: 1 << 40,
	}
}

// TestRekeyUnderLoad sends from four goroutines in both directions while the keys
// change every second: nothing is lost, and on the wire no pair of receiver index,
// which stands for the key, and counter is seen twice.
func TestRekeyUnderLoad(t *testing.T) {
	t.Parallel()
	ca, cb := newAuditor(), newAuditor()
	an, bn := startNode(t, ca, ca.sink, shortLimits), startNode(t, cb, cb.sink, shortLimits)
	p, ab, ba := through(t, an, bn)

	type number struct {
		toServer bool
		index    uint32
		counter  uint64
	}
	var mu sync.Mutex
	seen, keys, twice := map[number]bool{}, map[uint32]bool{}, 0
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if index, counter, ok := packet.ParseDataHeader(pkt); ok {
			mu.Lock()
			n := number{toServer, index, counter}
			if seen[n] {
				twice++
			}
			seen[n], keys[index] = true, true
			mu.Unlock()
		}
		return [][]byte{pkt}
	})
	var loads [2]struct {
		ld []*loader
		to *auditor
	}
	loads[0].to, loads[1].to = cb, ca
	for i, l := range []*Link{ab, ba} {
		for j := range uint64(4) {
			loads[i].ld = append(loads[i].ld, load(t, l, j<<40, 4, 400, 2*time.Millisecond))
		}
	}
	until(t, 20*time.Second, "keys change six times", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(keys) >= 2*7
	})
	for _, l := range loads {
		sent := int64(0)
		for _, ld := range l.ld {
			ld.stop()
			sent += ld.sent.Load()
		}
		until(t, 5*time.Second, "all have arrived", func() bool { return l.to.good.Load() == sent })
		if l.to.twice > 0 || l.to.bad.Load() > 0 {
			t.Errorf("%d twice, %d damaged", l.to.twice, l.to.bad.Load())
		}
	}
	if twice > 0 {
		t.Errorf("%d pairs of key and counter were used twice", twice)
	}
	for _, n := range []*node{an, bn} {
		if d := n.Drops(); d["auth"]+d["unknown_index"]+d["replay"] > 0 {
			t.Errorf("drops: %v", d)
		}
	}
}

// TestRekeyIsRetried loses the first handshake messages of a rekey.
func TestRekeyIsRetried(t *testing.T) {
	t.Parallel()
	longer := func(c *Config) {
		shortLimits(c)
		c.Limits.TakeoverAfter, c.Limits.RejectAfter = 8*time.Second, 9*time.Second
	}
	an, bn := newNode(t, longer), newNode(t, longer)
	p, ab, _ := through(t, an, bn)
	first := ab.send.Load().epoch
	var lost atomic.Int32
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if typ := packet.FrameType(pkt[0]); typ == packet.FrameInitiation && lost.Load() == 0 ||
			typ == packet.FrameResponse && lost.Load() == 1 {
			lost.Add(1)
			return nil
		}
		return [][]byte{pkt}
	})
	until(t, 8*time.Second, "keys have changed", func() bool { return ab.send.Load().epoch != first })
	if lost.Load() != 2 {
		t.Errorf("%d messages lost, want 2", lost.Load())
	}
}

// TestNothingIsSealedWithOldKeys asks only the sender: no timer helps it.
func TestNothingIsSealedWithOldKeys(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, nil)
	ab, _ := join(t, an, bn)
	st := *ab.send.Load()
	st.until = an.Now()
	ab.send.Store(&st)
	tx := an.GetTx()
	defer an.PutTx(tx)
	tx.Start(ab)
	clear(tx.Packet(64))
	if err := tx.Flush(); err != ErrDown {
		t.Errorf("Flush: %v, want %v", err, ErrDown)
	}
	if n := ab.txDrops.Load(); n != 1 {
		t.Errorf("%d drops counted, want 1", n)
	}
}

func TestDeadPeer(t *testing.T) {
	t.Parallel()
	an, bn := newNode(t, nil), newNode(t, nil)
	p, ab, _ := through(t, an, bn)
	an.expect(t, "up")
	bn.expect(t, "up")
	begin := time.Now()
	p.setMangle(func(bool, []byte) [][]byte { return nil })
	an.expect(t, "down")
	bn.expect(t, "down")
	bn.expect(t, "detach")
	if took := time.Since(begin); took < 8*time.Second || took > 10*time.Second {
		t.Errorf("the link was dead after %v, want 9 to 10 s", took)
	}
	p.setMangle(pass)
	an.expect(t, "up") // by itself
	bn.expect(t, "up")
	if !ab.Up() || len(bn.Links()) != 1 {
		t.Errorf("up %v, %d links", ab.Up(), len(bn.Links()))
	}
}

// TestHintSpoofing sends hints as fast as it can from the peer's own address.
func TestHintSpoofing(t *testing.T) {
	t.Parallel()
	an, bn := newNode(t, nil), newNode(t, nil)
	p, ab, _ := through(t, an, bn)
	var initiations atomic.Int32
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if packet.FrameType(pkt[0]) == packet.FrameInitiation {
			initiations.Add(1)
		}
		return [][]byte{pkt}
	})
	client := *p.client.Load()
	begin := time.Now()
	for time.Since(begin) < 2*time.Second {
		hint := packet.HandshakeHeader{Type: packet.FrameUnknownIndex, Sender: ab.send.Load().epoch.Remote}.Append(nil)
		if _, err := p.front.WriteToUDPAddrPort(append(hint, 0, 0, 0, 0), client); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Microsecond)
	}
	if n := initiations.Load(); n != 1 {
		t.Errorf("%d handshakes begun in 2 s, want 1", n)
	}
	if !ab.Up() {
		t.Error("the link went down")
	}
}

// TestRestartWithClockBehind is a neighbour that comes back with an older clock, and
// whose address answers no hints: it is refused as long as its old link may live and
// gets in when that is dead.
func TestRestartWithClockBehind(t *testing.T) {
	t.Parallel()
	keys := func(c *Config) { c.Static = staticKey(t, bytesOf(7, 32)) }
	an, bn := newNode(t, keys), newNode(t, nil)
	_, _ = join(t, an, bn)
	bn.mustDie(t, an)
	// The old link at b was made with a later time than the new a will have.
	if !bn.guard.Track(an.PubKey(), 1<<62) {
		t.Fatal("guard is full")
	}
	a2 := newNode(t, keys)
	l, err := a2.AddLink(bn.pk, SUDPH, bn.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	until(t, 20*time.Second, "the link is up again", l.Up)
	if bn.Drops()["old_timestamp"] == 0 || time.Since(begin) > 15*time.Second {
		t.Errorf("up after %v, drops %v", time.Since(begin), bn.Drops())
	}
}

// mustDie stops a without a word to anybody.
func (n *node) mustDie(t *testing.T, a *node) {
	t.Helper()
	for _, l := range a.Links() {
		l.send.Store(nil) // no goodbye
	}
	a.stop()
}

func bytesOf(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}
