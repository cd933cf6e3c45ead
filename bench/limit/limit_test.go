package limit

import (
	"bytes"
	"testing"
)

func TestSealOpen(t *testing.T) {
	s, err := newSealer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	one, two := make([]byte, PayloadBytes), make([]byte, PayloadBytes)
	s.seal(one, 1)
	s.seal(two, 2)
	if bytes.Equal(one[counterBytes:], two[counterBytes:]) {
		t.Error("two datagrams sealed under the same nonce")
	}
	if !s.open(two) || !s.open(one) {
		t.Error("open refused a good datagram")
	}
	s.seal(one, 3)
	one[700] ^= 1
	if s.open(one) {
		t.Error("open took a changed datagram")
	}
	for n := range counterBytes + 16 {
		if s.open(make([]byte, n)) {
			t.Errorf("open took %d bytes", n)
		}
	}
}

func TestSealAllocs(t *testing.T) {
	s, err := newSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	pkt := make([]byte, PayloadBytes)
	if n := testing.AllocsPerRun(10, func() {
		for i := range uint64(100) {
			s.seal(pkt, i)
			if !s.open(pkt) {
				t.Fatal("open refused a good datagram")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocs per 100 packets, want 0", n)
	}
}

func TestTotals(t *testing.T) {
	tx := Totals{Bytes: 4e9, Packets: 1000, Seconds: 2, CPUSeconds: 1}
	rx := Totals{Packets: 900}
	if got := tx.Gbps(); got != 16 {
		t.Errorf("Gbps = %v, want 16", got)
	}
	if got := tx.CPUPerGB(); got != 0.25 {
		t.Errorf("CPUPerGB = %v, want 0.25", got)
	}
	if got := Loss(tx, rx); got < 0.0999 || got > 0.1001 {
		t.Errorf("Loss = %v, want 0.1", got)
	}
	if (Totals{}).Gbps() != 0 || (Totals{}).CPUPerGB() != 0 || Loss(Totals{}, rx) != 0 {
		t.Error("empty totals must give 0")
	}
}
