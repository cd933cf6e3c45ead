package session

import (
	"math"
	"testing"
	"time"
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
