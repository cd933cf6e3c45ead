package relay

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// grantAll has l give each of its streams a lot of credit, so that only the relay
// holds d back.
func grantAll(l *peer, streams []uint32) {
	for _, id := range streams {
		l.send(yamux.Header{Type: update, StreamID: id, Length: 64 << 20}, nil)
	}
}

// A receiver that stops reading costs its streams, after half a second, and the
// sender's other streams no more than that time.
func TestStalledReceiver(t *testing.T) {
	r := newRig(t, nil)
	d, stalled, other := r.connect(t, identity(t)), r.connect(t, identity(t)), r.connect(t, identity(t))
	_ = stalled.conn.(*net.TCPConn).SetReadBuffer(64 << 10) // so that little is enough to fill it
	var at, there [4]uint32
	for i := range at {
		at[i], there[i] = dial(d, stalled)
	}
	good, goodThere := dial(d, other)
	grantAll(stalled, there[:])
	for range at {
		d.recv()
	}
	var resets atomic.Int32
	go func() {
		for {
			h, _, err := d.tryRecv()
			if err != nil {
				return
			}
			if h.Flags == rst {
				resets.Add(1)
			}
		}
	}()
	begin := time.Now()
	body := make([]byte, 60<<10)
	for i := 0; resets.Load() == 0 && time.Since(begin) < patience; i++ {
		if _, err := d.conn.Write(append(frameBytes(yamux.Header{Type: data, StreamID: at[i%len(at)], Length: uint32(len(body))}), body...)); err != nil {
			t.Fatal(err)
		}
	}
	r.count(t, ResetStalled, uint64(len(at)))
	if level := r.find(stalled.id.PubKey()).out.level.Load(); level > queueLimit+controlSlack || level < queueHalf {
		t.Errorf("%d bytes queued for the stalled receiver", level)
	}
	d.send(yamux.Header{Type: data, StreamID: good}, []byte("alive"))
	if got := other.data(goodThere, 5); string(got) != "alive" {
		t.Errorf("got %q", got)
	}
	if n := r.find(d.id.PubKey()).streams(); n != 1 {
		t.Errorf("the sender has %d streams, want 1", n)
	}
	// It is still a session: once it reads, everything that was queued comes, in
	// whole frames, and then the resets.
	gone := 0
	for gone < len(at) {
		if h, _ := stalled.recv(); h.Flags == rst {
			gone++
		}
	}
	dial(stalled, other)
}

// fill has d send on its stream at until more than half of a full queue stands at l,
// which does not read, and returns how many bytes that took.
func fill(r *rig, d, l *peer, at, there uint32) int {
	_ = l.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	grantAll(l, []uint32{there})
	d.recv()
	c, out := r.circuit(d, at), &r.find(l.id.PubKey()).out
	body, sent := make([]byte, 60<<10), 0
	for !out.holds() {
		before := c.ends[dialer].credit.Load()
		d.send(yamux.Header{Type: data, StreamID: at}, body)
		sent += len(body)
		want := before - int64(len(body))
		r.until(d.t, func() bool { return c.ends[dialer].credit.Load() == want }, "the relay to read")
	}
	return sent
}

// circuit returns the circuit of a stream of p.
func (r *rig) circuit(p *peer, id uint32) *circuit {
	s := r.find(p.id.PubKey())
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookup(id)
}

// Half a full queue holds the receiver's grants back, an empty one lets them go.
func TestGrantsAreHeld(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, there := dial(d, l)
	sent := fill(r, d, l, at, there)
	l.send(yamux.Header{Type: update, StreamID: there, Length: 4321}, nil)
	l.send(yamux.Header{Type: update, StreamID: there, Length: 1000}, nil)
	c, out := r.circuit(d, at), &r.find(l.id.PubKey()).out
	held := func() uint32 {
		out.mu.Lock()
		defer out.mu.Unlock()
		return c.ends[listener].held
	}
	r.until(t, func() bool { return held() == 5321 }, "the grants to be held")
	l.data(there, sent)
	for got := uint32(0); got < 5321; { // in steps, as the queue gets shorter
		h, _ := d.recv()
		if h.Type != update || h.StreamID != at || got+h.Length > 5321 {
			t.Fatalf("got %+v after %d bytes of the held credit", h, got)
		}
		got += h.Length
	}
	r.until(t, func() bool { return held() == 0 && !out.busy() }, "the queue to drain")
}

// A connection that breaks while much is queued for it ends without a trace. Closing
// it from within the write that failed would have waited for that write for ever.
func TestBrokenReceiver(t *testing.T) {
	r := newRig(t, nil)
	for _, self := range []bool{false, true} {
		d := r.connect(t, identity(t))
		l := d
		if !self {
			l = r.connect(t, identity(t))
		}
		at, there := dial(d, l)
		fill(r, d, l, at, there)
		_ = l.conn.(*net.TCPConn).SetLinger(0) // a reset
		_ = l.conn.Close()
		r.until(t, func() bool { return r.find(l.id.PubKey()) == nil }, "the session to end")
		if !self {
			d.want(yamux.Header{Type: update, Flags: rst, StreamID: at})
		}
	}
	r.stop()
}

// Who lets the answers to its own frames pile up has broken the protocol, be they
// answers to pings or the resets of streams that it opens and ends. The queue is only
// said to be full: a real one locks up in the kernel's TCP at times, because
// acknowledgements in the flood's way are dropped with the answers.
func TestNoReading(t *testing.T) {
	r := newRig(t, nil)
	ping := yamux.Header{Type: yamux.TypePing, Flags: syn, Length: 1}
	open := yamux.Header{Type: update, Flags: syn, StreamID: 1}
	for i, asks := range []yamux.Header{ping, open} {
		p := r.connect(t, identity(t))
		p.send(ping, nil)
		p.recv()
		r.find(p.id.PubKey()).out.level.Add(queueLimit + controlSlack)
		p.send(asks, nil)
		if last := p.gone(); last.Type != yamux.TypeGoAway {
			t.Errorf("%+v: the last frame is %+v, want a go-away", asks, last)
		}
		r.count(t, ViolationNoReading, uint64(i+1))
	}
}

// Updates wait for the receiver's queue, and nobody gets them past it with a FIN that
// was sent before: frames that cost no credit must not fill it.
func TestRepeatedFIN(t *testing.T) {
	id := identity(t)
	w := newWorkbench(t, id, hopFor(t, id), false)
	defer w.finish(t)
	a, c := w.sessions[0], w.sessions[0].circuits[1]
	to := c.ends[listener].session
	to.out.level.Add(1)
	defer to.out.level.Add(-1)
	b := w.srv.batches.Get().(*batch)
	end := headroom
	for _, length := range []uint32{0, 1, 2} {
		yamux.Header{Type: update, Flags: fin, StreamID: 1, Length: length}.Put(b.buf[end:])
		end += yamux.HeaderLen
	}
	a.mu.Lock()
	_, why := a.parse(b, headroom, end)
	a.mu.Unlock()
	if why != ReasonNone {
		t.Fatal(why)
	}
	if n := b.runs[0].end - b.runs[0].from; len(b.runs) != 1 || n != yamux.HeaderLen {
		t.Errorf("%d runs, the first of %d bytes, want just one FIN", len(b.runs), n)
	}
	if len(b.grants) != 2 {
		t.Errorf("%d grants wait, want 2", len(b.grants))
	}
	b.flush(a)
}

// Pings that come together are answered together, each with its number.
func TestManyPings(t *testing.T) {
	r := newRig(t, nil)
	p := r.connect(t, identity(t))
	const n = 3*maxRuns + 1
	var frames []byte
	for i := range uint32(n) {
		frames = append(frames, frameBytes(yamux.Header{Type: yamux.TypePing, Flags: syn, Length: i})...)
	}
	p.write(frames)
	for i := range uint32(n) {
		p.want(yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagACK, Length: i})
	}
}

func TestStallBudget(t *testing.T) {
	var b stallBudget
	now := time.Now()
	if got := b.left(now); got != stallLimit {
		t.Errorf("new: %v left, want %v", got, stallLimit)
	}
	b.spend(now, stallLimit)
	if got := b.left(now); got != 0 {
		t.Errorf("spent: %v left", got)
	}
	if got := b.left(now.Add(time.Second)); got != time.Second/stallShare {
		t.Errorf("a second later: %v left, want %v", got, time.Second/stallShare)
	}
	if got := b.left(now.Add(time.Hour)); got != stallLimit {
		t.Errorf("an hour later: %v left, want %v", got, stallLimit)
	}
}
