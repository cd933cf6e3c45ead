package session

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestSentLogModel plays a sentLog against a list of every packet.
func TestSentLogModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var l sentLog
	type sent struct {
		seq            uint32
		at             time.Duration
		packets, bytes uint64
	}
	var model []sent
	seq := uint32(math.MaxUint32 - 5000)
	var packets, bytes uint64
	oldest := 0
	for now := range time.Duration(4000) {
		n := 1 + rng.IntN(10)
		l.add(now, seq, n, 100*n)
		for range n {
			packets++
			bytes += 100
			model = append(model, sent{seq, now, packets, bytes})
			seq++
		}
		seq += rng.Uint32N(3) // others carry those
		if rng.IntN(4) > 0 {
			continue
		}
		i := oldest + rng.IntN(len(model)-oldest)
		m := model[i]
		run, ok := l.find(m.seq)
		if !ok || run.at != m.at {
			t.Fatalf("packet %d: run %+v, %v, want one of %v", m.seq, run, ok, m.at)
		}
		if p, b := run.upTo(m.seq); p != m.packets || b != m.bytes {
			t.Fatalf("packet %d: %d packets, %d bytes up to it; want %d, %d", m.seq, p, b, m.packets, m.bytes)
		}
		for oldest = i; oldest > 0 && model[oldest-1].at == m.at; oldest-- {
		}
		if l.flight() != bytes-m.bytes && l.arrived < m.bytes {
			t.Fatalf("%d bytes under way, want %d", l.flight(), bytes-m.bytes)
		}
	}
	if _, ok := l.find(seq + 5); ok {
		t.Error("found what was not sent")
	}
	if _, ok := l.find(model[0].seq); ok {
		t.Error("found what was forgotten")
	}
}

func TestSentLogIsBounded(t *testing.T) {
	var l sentLog
	for i := range uint32(3 * sentLogMost) {
		l.add(0, i, 1, 1)
	}
	if len(l.runs) != sentLogMost {
		t.Errorf("%d runs kept", len(l.runs))
	}
	if _, ok := l.find(3*sentLogMost - 1); !ok {
		t.Error("the newest is gone")
	}
}

// TestPacerSilence: packets go under way and nothing comes back; a few round trips later
// no more are risked, until something else says that the route works.
func TestPacerSilence(t *testing.T) {
	const ms = time.Millisecond
	var p pacer
	now := time.Second
	p.start(now, 20*ms)
	p.sent(now, 1, 1, 1000)
	if p.wait(now+50*ms) != 0 {
		t.Error("no more may leave after 50 ms")
	}
	if p.wait(now+400*ms) != never {
		t.Error("packets are risked after 400 ms of silence")
	}
	p.revive(now + 400*ms)
	if p.wait(now+400*ms) != 0 {
		t.Error("nothing may leave on a route that answers")
	}
}

// TestPacerPaces: what leaves in a second is the rate, in bursts of a few milliseconds.
func TestPacerPaces(t *testing.T) {
	var p pacer
	p.start(0, 10*time.Millisecond)
	p.setRate(1e6)
	bytes, seq := 0, uint32(0)
	for now := time.Duration(0); now < time.Second; now += 100 * time.Microsecond {
		for p.wait(now) == 0 {
			p.charge(now, 1000)
			bytes += 1000
			seq++
		}
		if most := 1e6*(now+slackMost).Seconds() + 3000; float64(bytes) > most {
			t.Fatalf("%d bytes after %v, at most %.0f", bytes, now, most)
		}
	}
	if bytes < 990_000 {
		t.Errorf("%d bytes in a second at 1 MB/s", bytes)
	}
}

// FuzzPacer: a peer may report what it likes. Rates stay finite and within bounds, and the
// window has a floor.
func FuzzPacer(f *testing.F) {
	entry := func(wait uint8, seq uint32, held, at, packets, bytes uint64) []byte {
		b := []byte{wait}
		b = binary.BigEndian.AppendUint32(b, seq)
		for _, v := range []uint64{held, at, packets, bytes} {
			b = binary.BigEndian.AppendUint64(b, v)
		}
		return b
	}
	var honest []byte
	for i := range uint64(60) {
		honest = append(honest, entry(10, uint32(10*i), 0, 10_000*i, 10*i, 13_430*i)...)
	}
	f.Add(honest)
	f.Add(append(entry(1, 3, 0, 1, 3, 4000), entry(1, 9, 0, 1, math.MaxUint64, math.MaxUint64)...))
	f.Add(append(entry(255, 3, math.MaxUint64, maxReportClock, 3, 4000), entry(1, 9, 0, 0, 0, 0)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		var p pacer
		now, seq := time.Second, uint32(0)
		p.start(now, 20*time.Millisecond)
		for size := len(entry(0, 0, 0, 0, 0, 0)); len(script) >= size; script = script[size:] {
			now += time.Duration(script[0]) * time.Millisecond
			p.sent(now, seq, 10, 13_430)
			seq += 10
			at := binary.BigEndian.Uint64(script[13:])
			p.report(now, muxReport{
				seq:     binary.BigEndian.Uint32(script[1:]),
				held:    time.Duration(uint32(binary.BigEndian.Uint64(script[5:]))) * time.Microsecond,
				at:      time.Duration(min(at, maxReportClock)) * time.Microsecond,
				packets: binary.BigEndian.Uint64(script[21:]),
				bytes:   binary.BigEndian.Uint64(script[29:]),
			})
			for _, rate := range []float64{p.rate, p.bandwidth()} {
				if !(rate >= minRate && rate <= maxRate) {
					t.Fatalf("a rate of %v", rate)
				}
			}
			if w := p.window(); w < minWindow || p.quantum() < minQuantum || p.quantum() > maxQuantum {
				t.Fatalf("window %d, quantum %d", w, p.quantum())
			}
			ls := lanes{{pacer: p, usable: true}, {usable: true}}
			ls[1].start(now, time.Millisecond)
			ls.measure(now)
			ls.judge(now)
			ls.pick(now, 1<<20)
		}
	})
}
