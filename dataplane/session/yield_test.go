package session

import (
	"math"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

func TestYield(t *testing.T) {
	var y yield
	now := time.Minute
	var sent, came, bytes uint64 = 7000, 5000, 1e9 // what was before says nothing
	step := func(took time.Duration, s, c, b uint64) {
		now += took
		sent, came, bytes = sent+s, came+c, bytes+b
		y.update(now, sent, came, bytes)
	}
	step(0, 0, 0, 0)
	if y.loss != 0 || y.mbps != 0 {
		t.Errorf("after one reply: %+v", y)
	}
	for range 40 {
		step(time.Second, 1000, 950, 1e6)
	}
	if math.Abs(y.loss-0.05) > 1e-3 || math.Abs(y.mbps-8) > 1e-9 {
		t.Errorf("loss %v, %v Mbit/s; want 0.05 and 8", y.loss, y.mbps)
	}
	before := y.loss
	step(time.Second, lossPackets-1, 0, 0)
	if y.loss != before {
		t.Error("a few packets changed the loss")
	}
	step(time.Second, 1, lossPackets, 0)
	if y.loss >= before {
		t.Error("together with the next they count")
	}
	step(rateFade, 0, 0, 0)
	if y.mbps < 3.5 || y.mbps > 4.5 {
		t.Errorf("%v Mbit/s after %v of silence, want about half of 8", y.mbps, rateFade)
	}
	came = 0 // the peer began anew
	step(time.Second, 100, 10, 0)
	step(time.Second, 100, 100, 0)
	if y.loss < 0 || y.loss > before {
		t.Errorf("loss %v after a new start", y.loss)
	}
	step(time.Second, 100, 500, 0) // reordered across probes
	if y.loss < 0 {
		t.Errorf("loss %v is below zero", y.loss)
	}
}

// TestRouteSaysWhatItDelivers: the far end's replies make the figures of RouteInfo.
func TestRouteSaysWhatItDelivers(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{quiet: true})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s := a.dial(c)
	s.mu.Lock()
	r := s.routes[0]
	s.mu.Unlock()
	info := func() RouteInfo {
		s.mu.Lock()
		defer s.mu.Unlock()
		return r.infoLocked()
	}
	send := func(n int) {
		for range n {
			if err := s.SendPacket(packet.ProtoUDP, make([]byte, 1000), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "a rate", func() bool { send(20); return info().Mbps > 0 })
	if got := info().LossPPM; got > 200_000 {
		t.Errorf("%d ppm lost on loopback", got)
	}
	eventually(t, "the loss", func() bool {
		send(10)
		r.tx.Add(10) // as if as many more had been sent
		return info().LossPPM > 300_000
	})
}
