package session

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// TestMuxQueueModel plays a queue against a list of byte slices.
func TestMuxQueueModel(t *testing.T) {
	type segment struct {
		came      time.Duration
		hdr, data []byte
		done      int
	}
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 3))
		random := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			return b
		}
		var q muxQueue
		var model []segment
		waiting := 0
		const limit = 600 << 10
		for now := range time.Duration(1000) {
			if rng.IntN(3) > 0 {
				s := segment{came: now, hdr: random(20 + 4*rng.IntN(11)), data: random(1 + rng.IntN(60_000))}
				cut := rng.IntN(len(s.data))
				ok := q.push(now, s.hdr, [][]byte{s.data[:cut], s.data[cut:]}, len(s.data), limit)
				if want := waiting+len(s.data) <= limit; ok != want {
					t.Fatalf("seed %d: push with %d bytes waiting: %v", seed, waiting, ok)
				}
				if ok {
					model = append(model, s)
					waiting += len(s.data)
				}
			}
			for range rng.IntN(12) {
				s := q.first()
				if (s == nil) != (len(model) == 0) {
					t.Fatalf("seed %d: first is %v, the model has %d", seed, s, len(model))
				}
				if s == nil {
					break
				}
				m := &model[0]
				if s.came != m.came || !bytes.Equal(s.hdr[:s.hdrN], m.hdr) || s.total != len(m.data) || s.done != m.done {
					t.Fatalf("seed %d: segment %+v, want %+v", seed, s, m)
				}
				n := min(1+rng.IntN(8000), s.total-s.done)
				got := make([]byte, n)
				if rng.IntN(4) == 0 {
					q.skip(n)
				} else if q.read(got); !bytes.Equal(got, m.data[m.done:m.done+n]) {
					t.Fatalf("seed %d: other data at %d", seed, m.done)
				}
				m.done += n
				waiting -= n
				if m.done == len(m.data) {
					model = model[1:]
				}
			}
			if q.bytes != waiting {
				t.Fatalf("seed %d: %d bytes wait, want %d", seed, q.bytes, waiting)
			}
		}
	}
}

// TestMuxQueueSheds: what waits for longer than the target, for an interval, loses a piece
// now and then, and more often if that does not help.
func TestMuxQueueSheds(t *testing.T) {
	const ms = time.Millisecond
	run := func(waited time.Duration) (shed int) {
		var q muxQueue
		hdr, data := make([]byte, 20), [][]byte{make([]byte, 1000)}
		for now := time.Second; now < 3*time.Second; now += ms {
			q.push(now-waited, hdr, data, 1000, 1<<20)
			if q.shed(now, 20*ms, 1000) {
				shed++
			} else {
				q.skip(1000)
			}
		}
		return shed
	}
	if n := run(19 * ms); n != 0 {
		t.Errorf("%d pieces shed below the target", n)
	}
	if n := run(30 * ms); n < 50 || n > 300 { // 1/√n intervals apart: about (2 s / 0.2 s)²
		t.Errorf("%d pieces shed in 2 s above the target", n)
	}
}

func TestMuxQueueDoesNotAllocate(t *testing.T) {
	var q muxQueue
	hdr, data := make([]byte, 32), [][]byte{make([]byte, 30_000), make([]byte, 29_000)}
	out := make([]byte, 1300)
	round := func() {
		for range 100 {
			q.push(0, hdr, data, 59_000, 1<<20)
			for s := q.first(); s != nil; s = q.first() {
				q.read(out[:min(len(out), s.total-s.done)])
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(5, round); n > 0 {
		t.Errorf("%v allocations for 100 segments", n)
	}
}

// FuzzMuxPayloads: what a peer puts into protos 7 and 8 is refused or read as it stands.
func FuzzMuxPayloads(f *testing.F) {
	report := make([]byte, muxReportLen)
	muxReport{seq: 7, held: 3 * time.Millisecond, at: time.Hour, packets: 9, bytes: 12345}.put(report)
	f.Add(report)
	f.Add(report[:muxReportLen-1])
	f.Add([]byte{packet.ProtoMux, 0, 0, 0, 9, 1, 2, 3})
	f.Add([]byte{packet.ProtoMux, 0, 0, 0, 9})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if seq, inner, ok := parseMux(b); ok {
			again := binary.BigEndian.AppendUint32([]byte{packet.ProtoMux}, seq)
			if again = append(again, inner...); !bytes.Equal(again, b) {
				t.Errorf("%x became %x", b, again)
			}
		}
		if r, ok := parseMuxReport(b); ok {
			again := make([]byte, muxReportLen)
			if r.put(again); !bytes.Equal(again, b) {
				t.Errorf("%x became %x", b, again)
			}
		}
	})
}
