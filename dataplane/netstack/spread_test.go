package netstack

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Spread makes a fakePeer a Spreader.
func (p *fakePeer) Spread() (rtt time.Duration, rate float64) {
	if s := p.spread.Load(); s != nil {
		return s.rtt, s.rate
	}
	return 0, 0
}

// TestSpreadSlowStartGoesOn: a stream hears from its session what the paths hold, and its
// slow start goes on up to its share of that.
func TestSpreadSlowStartGoesOn(t *testing.T) {
	p := newPair(t, fault{delay: time.Millisecond})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	peer, ok := c.stack.cfg.Network.Lookup(c.remote.overlay())
	if !ok {
		t.Fatal("no peer")
	}
	if c.noticeSpread() || c.path() != 0 || c.spread.Load() != nil {
		t.Error("spread, over one path")
	}
	const rate, rtt = 100e6, 40 * time.Millisecond
	peer.(*fakePeer).spread.Store(&paths{rtt: rtt, rate: rate})
	c.noticeSpread()
	if c.path() != rtt {
		t.Fatalf("a path of %v, want %v", c.path(), rtt)
	}
	if c.spread.Load().threshold == nil {
		t.Fatal("gVisor keeps its slow start threshold elsewhere")
	}
	e := c.ep.(*tcp.Endpoint)
	info := func() (i tcpip.TCPInfoOption) {
		if err := e.GetSockOpt(&i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	set := func(threshold int) {
		e.LockUser()
		*c.spread.Load().threshold = threshold
		e.UnlockUser()
	}
	set(20)
	if got := info().SndSsthresh; got != 20 {
		t.Fatalf("gVisor's threshold is %d after it was set to 20", got)
	}
	seconds := rtt.Seconds()
	whole := uint32(headroom * rate * seconds / mss)
	for _, tt := range []struct {
		streams int32
		had     int
		state   tcpip.CongestionControlState
		want    uint32
	}{
		{0, 20, tcpip.Open, whole},
		{1, 20, tcpip.Open, whole},
		{4, 20, tcpip.Open, whole / 4},
		{1, 1 << 20, tcpip.Open, 1 << 20},
		{1, 20, tcpip.FastRecovery, 20},
	} {
		set(tt.had)
		c.stack.budget.spreading.Store(tt.streams)
		i := info()
		i.CcState = tt.state
		c.goOn(&i)
		if got := info().SndSsthresh; got != tt.want {
			t.Errorf("%+v: threshold %d", tt, got)
		}
	}
	peer.(*fakePeer).spread.Store(nil)
	c.noticeSpread()
	set(20)
	i := info()
	if c.goOn(&i); c.path() != 0 || info().SndSsthresh != 20 {
		t.Error("still spread")
	}
}

// TestSpreadIsPaced: the limit of what is under way is that of the slowest path, however
// quick the one is that the stream began on.
func TestSpreadIsPaced(t *testing.T) {
	const ms = time.Millisecond
	run := func(path time.Duration) int {
		p := pacer{path: path}
		now, written, want := time.Unix(1, 0), uint64(0), firstBuffer
		for range 400 { // 25 MB/s, 20 ms
			now = now.Add(ms)
			written += 25_000
			want = p.step(now, written+firstBuffer, firstBuffer, 100<<20, 20*ms, true)
		}
		return want
	}
	if got, want := run(0), int(headroom*0.020*25e6); got < want*9/10 || got > want*11/10 {
		t.Errorf("over one path %d bytes, want %d", got, want)
	}
	if got, want := run(40*ms), int(headroom*0.040*25e6); got < want*9/10 || got > want*11/10 {
		t.Errorf("over two paths %d bytes, want %d", got, want)
	}
}
