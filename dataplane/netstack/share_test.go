package netstack

import (
	"encoding/binary"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestShareOfStreams: one key took all streams of a visor with a public port.
func TestShareOfStreams(t *testing.T) {
	p := newPairBudget(t, fault{}, 64*2*minBuffer)
	l, err := p.b.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 64)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	share := p.b.budget.share()
	if share != 32 {
		t.Fatalf("one key gets %d of 64 streams, want 32", share)
	}
	var open, far []net.Conn
	for range share {
		c, err := p.a.Dial(t.Context(), p.b.cfg.PubKey, 7)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		far = append(far, <-accepted)
	}
	// The handshake is gVisor's; the reset comes once somebody looks.
	c, err := p.a.Dial(t.Context(), p.b.cfg.PubKey, 7)
	if err == nil {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a stream over the key's share: %v, want ECONNRESET", err)
	}
	if n := p.b.Drops()[DropStreams]; n != 1 {
		t.Errorf("%d streams counted as refused, want 1", n)
	}
	// Others get in.
	own, err := p.b.Dial(t.Context(), p.b.cfg.PubKey, 7)
	if err != nil {
		t.Fatalf("while one key has its share: %v", err)
	}
	own.Close()
	(<-accepted).Close()
	// So does the key, when one of its streams has ended.
	open[0].(*Conn).Abort()
	far[0].Close()
	for deadline := time.Now().Add(10 * time.Second); p.b.budget.has(p.a.cfg.PubKey) == share; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ended stream still counts")
		}
	}
	if c, err = p.a.Dial(t.Context(), p.b.cfg.PubKey, 7); err != nil {
		t.Fatal(err)
	}
	open[0] = c
	far[0] = <-accepted
	for _, c := range append(open, far...) {
		c.Close()
	}
	l.Close()
	for range accepted {
	}
}

// has returns how many streams of pk's there are.
func (b *budget) has(pk cipher.PubKey) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byKey[pk]
}

func TestShare(t *testing.T) {
	for _, tt := range []struct{ streams, want int }{
		{1, 1}, {2, 1}, {3, 1}, {16, 8}, {64, 32}, {100, 32}, {128, 32}, {200, 50}, {8192, 2048},
	} {
		b := budget{total: int64(tt.streams) * 2 * minBuffer}
		if got := b.share(); got != tt.want {
			t.Errorf("share of %d streams is %d, want %d", tt.streams, got, tt.want)
		}
	}
}

// syn makes the first segment of a stream.
func syn(from, to uint16) []byte {
	b := make([]byte, tcpMinLen)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[tcpOffsetData] = tcpMinLen / 4 << 4
	b[tcpOffsetFlags] = flagSYN
	b[15] = 0xff // window
	return b
}

// TestShareOfHalfOpen: one key's SYNs filled the backlog of a listener, so that those
// of all others were answered with cookies.
func TestShareOfHalfOpen(t *testing.T) {
	p := newPair(t, fault{})
	p.ba.setCut(true) // a would reset what it has not begun
	l, err := p.b.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from := p.b.cfg.Network.(*fakeNetwork).byKey(p.a.cfg.PubKey)
	var burst [][]byte
	for i := range 2 * backlog {
		burst = append(burst, syn(uint16(1000+i), 7))
		if i%3 == 0 {
			burst = append(burst, syn(uint16(1000+i), 7)) // counts once
		}
	}
	p.b.Deliver(from, packet.ProtoTCP, burst)
	var refused uint64
	for i := maxHalfOpen; i < 2*backlog; i++ {
		refused++
		if i%3 == 0 {
			refused++
		}
	}
	if n := p.b.Drops()[DropHalfOpen]; n != refused {
		t.Errorf("%d SYNs refused, want %d", n, refused)
	}
	// One that has begun goes on, a closed port answers, and other keys get in.
	pk, _ := cipher.GenerateKeyPair()
	w := newWire(fault{})
	other := &fakePeer{pk: pk, out: w}
	p.b.cfg.Network.(*fakeNetwork).add(other)
	p.b.Deliver(from, packet.ProtoTCP, [][]byte{syn(1000, 7), syn(5000, 8)})
	p.b.Deliver(other, packet.ProtoTCP, [][]byte{syn(1000, 7)})
	if n := p.b.Drops()[DropHalfOpen]; n != refused {
		t.Errorf("%d SYNs refused, want %d", n, refused)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		n := w.sent
		w.mu.Unlock()
		if n > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("another key gets no answer")
		}
	}
}

// TestHalfOpenEnds: what has been accepted, and what gVisor has given up, makes room.
func TestHalfOpenEnds(t *testing.T) {
	alive := map[uint32]bool{}
	h := halfOpen{
		alive: func(_ cipher.PubKey, id attemptID) bool { return alive[id.ports] },
		byKey: map[cipher.PubKey]*attempts{},
	}
	pk, _ := cipher.GenerateKeyPair()
	now := time.Now()
	for i := range uint32(maxHalfOpen) {
		alive[i] = true
		if !h.begin(pk, attemptID{ports: i}, now) {
			t.Fatalf("attempt %d refused", i)
		}
	}
	now = now.Add(2 * halfOpenCheck)
	if h.begin(pk, attemptID{ports: 100}, now) {
		t.Error("one more than allowed")
	}
	h.end(pk, attemptID{ports: 5})
	if !h.begin(pk, attemptID{ports: 101}, now) || h.begin(pk, attemptID{ports: 102}, now) {
		t.Error("one accepted stream makes room for one")
	}
	alive[6], alive[7] = false, false
	if h.begin(pk, attemptID{ports: 103}, now) {
		t.Error("looked twice within a moment")
	}
	now = now.Add(halfOpenCheck)
	if !h.begin(pk, attemptID{ports: 104}, now) || !h.begin(pk, attemptID{ports: 105}, now) || !h.begin(pk, attemptID{ports: 106}, now) || h.begin(pk, attemptID{ports: 107}, now) {
		t.Error("three that are gone, 6, 7 and 101, make room for three")
	}
	quiet, _ := cipher.GenerateKeyPair()
	h.begin(quiet, attemptID{ports: 1}, now.Add(halfOpenLife+time.Second))
	if len(h.byKey) != 1 {
		t.Errorf("%d keys are remembered, want the last", len(h.byKey))
	}
}
