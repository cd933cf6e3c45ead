package link

import (
	"math"
	"sync/atomic"
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	var f figures
	now := second
	var expected, opened, bytes uint64
	step := func(sent, came, size uint64) {
		now += second
		expected, opened, bytes = expected+sent, opened+came, bytes+size
		f.look(now, expected, opened, bytes)
	}
	f.look(now, 1000, 900, 5e6) // what was before says nothing
	expected, opened, bytes = 1000, 900, 5e6
	for range 30 {
		step(100, 90, 1e6)
	}
	if math.Abs(f.loss-0.1) > 0.001 || math.Abs(f.mbps-8) > 1e-9 {
		t.Errorf("loss %v, %v Mbit/s; want 0.1 and 8", f.loss, f.mbps)
	}
	for range 10 { // too few to say anything, and together enough
		step(lossFrames/10, lossFrames/10, 0)
	}
	if f.loss > 0.08 || f.loss < 0.07 {
		t.Errorf("loss %v after one more sample without any, want 0.075", f.loss)
	}
	if want := 8 * math.Pow(rateKept, 10); math.Abs(f.mbps-want) > 1e-9 {
		t.Errorf("%v Mbit/s after 10 idle seconds, want %v", f.mbps, want)
	}
	step(100, 250, 0) // late ones
	if f.loss < 0 || f.loss > 0.06 {
		t.Errorf("loss %v after late frames", f.loss)
	}
}

// TestLinkCountsLoss: one frame of five is lost on its way to b, and b knows it.
func TestLinkCountsLoss(t *testing.T) {
	t.Parallel()
	ca, cb := newAuditor(), newAuditor()
	an, bn := startNode(t, ca, ca.sink, nil), startNode(t, cb, cb.sink, nil)
	p, ab, ba := through(t, an, bn)
	var n atomic.Int64
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if toServer && n.Add(1)%5 == 0 {
			return nil
		}
		return [][]byte{pkt}
	})
	load(t, ab, 0, 10, 512, time.Millisecond)
	until(t, 30*time.Second, "the loss to show", func() bool {
		loss := ba.Info().LossPPM
		return loss > 150_000 && loss < 250_000 && ba.Info().Mbps > 0
	})
	if loss := ab.Info().LossPPM; loss > 100_000 {
		t.Errorf("%d ppm on the way back, where nothing is lost", loss)
	}
}
