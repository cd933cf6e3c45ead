package topo

import (
	"testing"
	"time"
)

func TestPacer(t *testing.T) {
	start := time.Unix(1e9, 0)
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	type packet struct {
		at   time.Duration // arrival
		n    int
		due  time.Duration
		drop bool
	}
	tests := []struct {
		name    string
		wire    Wire
		packets []packet
	}{
		{"delay alone keeps the gaps", Wire{Delay: ms(250)}, []packet{
			{0, 1500, ms(250), false}, {0, 1500, ms(250), false}, {ms(3), 40, ms(253), false},
		}},
		{"1000 bytes at 8 Mbit/s take 1 ms", Wire{Rate: 8e6}, []packet{
			{0, 1000, ms(1), false}, {0, 500, ms(1.5), false}, {0, 1000, ms(2.5), false},
			{ms(10), 1000, ms(11), false}, // idle time gives no credit
		}},
		{"rate and delay add up", Wire{Rate: 8e6, Delay: ms(100)}, []packet{
			{0, 1000, ms(101), false}, {0, 1000, ms(102), false},
		}},
		{"a full queue drops, and drains", Wire{Rate: 8e6, Queue: 2500}, []packet{
			{0, 1000, ms(1), false}, {0, 1000, ms(2), false}, {0, 1000, 0, true},
			{0, 500, ms(2.5), false}, {ms(1.5), 1000, ms(3.5), false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pacer{wire: tt.wire}
			for i, pkt := range tt.packets {
				due, ok := p.admit(start.Add(pkt.at), pkt.n)
				if ok == pkt.drop {
					t.Fatalf("packet %d: admitted %v, want %v", i, ok, !pkt.drop)
				}
				if diff := due.Sub(start.Add(pkt.due)); ok && (diff < -time.Microsecond || diff > time.Microsecond) {
					t.Errorf("packet %d: due after %v, want %v", i, due.Sub(start), pkt.due)
				}
			}
		})
	}
}

func TestWireBounds(t *testing.T) {
	for _, w := range []Wire{{Delay: -1}, {Delay: 11 * time.Second}, {Rate: 1e12}, {Queue: -1}} {
		if w.Validate() == nil {
			t.Errorf("%+v is valid", w)
		}
	}
	w := Wire{Delay: 250 * time.Millisecond, Rate: 200e6}
	if err := w.Validate(); err != nil {
		t.Error(err)
	}
	if got, want := w.queueBytes(), 12_500_000; got != want {
		t.Errorf("queue of %d bytes, want one round trip, %d", got, want)
	}
	if got, least := w.packets(), 18_750_000/MTU; got < least {
		t.Errorf("room for %d packets, the wire holds %d", got, least)
	}
	if got := (Wire{Delay: 10 * time.Second, Rate: 100e9}).packets(); got != maxWirePackets {
		t.Errorf("room for %d packets, want the cap %d", got, maxWirePackets)
	}
}
