package netstack

import (
	"testing"
	"time"
)

// A simPath is a slow start over a bottleneck, in steps of a millisecond: what a pacer
// sees, without TCP. The writer always has data.
type simPath struct {
	pacer
	rate  float64 // of the bottleneck, bytes/s
	delay time.Duration

	now     time.Time
	window  float64 // bytes; grows by what is acknowledged
	size    int     // of the send buffer
	written uint64
	sent    float64
	acked   float64
	queue   float64   // bytes that wait for the bottleneck
	deepest float64   // longest queue so far
	back    []float64 // what comes back in each of the next milliseconds
}

func newSimPath(rate float64, delay time.Duration) *simPath {
	return &simPath{rate: rate, delay: delay, now: time.Unix(1, 0), window: 10 * mss, size: firstBuffer}
}

// run lets d pass and returns the rate at which data was acknowledged, bytes/s.
func (s *simPath) run(d time.Duration) float64 {
	const tick = time.Millisecond
	start, check := s.acked, time.Duration(0)
	for t := time.Duration(0); t < d; t += tick {
		s.now = s.now.Add(tick)
		if len(s.back) > 0 {
			s.acked += s.back[0]
			s.window += s.back[0]
			s.back = s.back[1:]
		}
		if t >= check {
			s.written = max(s.written, uint64(s.acked)+uint64(s.size))
			s.size = s.step(s.now, s.written, s.size, int(s.window), s.delay, true)
			check = t + s.delay/checksPerRTT
		}
		s.written = max(s.written, uint64(s.acked)+uint64(s.size))
		burst := min(s.acked+s.window, float64(s.written)) - s.sent
		if burst > 0 {
			s.sent += burst
			s.queue += burst
		}
		s.deepest = max(s.deepest, s.queue)
		out := min(s.queue, s.rate*tick.Seconds())
		s.queue -= out
		for len(s.back) < int(s.delay/tick) {
			s.back = append(s.back, 0)
		}
		s.back = append(s.back, out)
	}
	return (s.acked - start) / d.Seconds()
}

// bdp returns what the path holds without a queue, in bytes.
func (s *simPath) bdp() float64 { return s.rate * s.delay.Seconds() }

// TestPacerSparesQueue: an ordinary slow start has sent twice what path and queue hold
// before it sees the first loss.
func TestPacerSparesQueue(t *testing.T) {
	tests := []struct {
		name  string
		mbps  float64
		delay time.Duration
	}{
		{"long fat", 200, 500 * time.Millisecond},
		{"continent", 1000, 40 * time.Millisecond},
		{"radio", 20, 300 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSimPath(tt.mbps/8*1e6, tt.delay)
			s.run(30 * tt.delay)
			if got := s.run(30*tt.delay) / s.rate; got < 0.95 {
				t.Errorf("%.2f of the bottleneck is used, want at least 0.95", got)
			}
			if got := s.deepest / s.bdp(); got > 0.75 {
				t.Errorf("up to %.2f of a round trip waited in the queue, want at most 0.75", got)
			}
		})
	}
}

// TestPacerFollowsPath: a limit from the old round trip would shrink round after round
// once the path has become longer.
func TestPacerFollowsPath(t *testing.T) {
	s := newSimPath(25e6, 50*time.Millisecond)
	s.run(2 * time.Second)
	s.pacer.least = 50 * time.Millisecond
	s.delay = 200 * time.Millisecond
	s.run(20 * time.Second)
	if got := s.run(5*time.Second) / s.rate; got < 0.9 {
		t.Errorf("%.2f of the bottleneck is used after a change of route, want at least 0.9", got)
	}
}

// TestPacerIgnoresRepair: the acknowledgement that ends a repair covers what had arrived
// in a whole round trip, and was taken for the rate of the bottleneck.
func TestPacerIgnoresRepair(t *testing.T) {
	s := newSimPath(25e6, 100*time.Millisecond)
	s.run(3 * time.Second)
	before := s.hold()
	acked := uint64(s.acked)
	for range 50 { // nothing is acknowledged for a while
		s.now = s.now.Add(3 * time.Millisecond)
		s.step(s.now, acked+uint64(s.size), s.size, int(s.window), s.delay, false)
	}
	for range 50 { // then much at once, and no more for a while
		s.now = s.now.Add(3 * time.Millisecond)
		s.step(s.now, acked+3*uint64(s.size), s.size, int(s.window), s.delay, true)
	}
	if got := s.hold(); got > before {
		t.Errorf("the path seems to hold %.0f bytes after a repair, %.0f before", got, before)
	}
}

// TestPacerBound: whatever is acknowledged when, the limit is within its bounds.
func TestPacerBound(t *testing.T) {
	var p pacer
	now := time.Unix(1, 0)
	for i := range uint64(1000) {
		got := p.step(now, i*i*1e6, firstBuffer, int(i)*mss, time.Duration(i+1)*time.Millisecond, i%7 != 0)
		if got < firstBuffer || got > max(firstBuffer, 2*int(i)*mss) {
			t.Fatalf("step %d: limit of %d bytes with a window of %d", i, got, int(i)*mss)
		}
		if wait := p.reserve(now, maxPiece); wait < 0 || wait > time.Minute {
			t.Fatalf("step %d: wait for %v", i, wait)
		}
		now = now.Add(time.Duration(i%5) * time.Millisecond) // also not at all
	}
}

// TestWriterFindsSpaceByItself: space of which gVisor does not tell must not leave a
// writer asleep for ever.
func TestWriterFindsSpaceByItself(t *testing.T) {
	p := newPairBudget(t, fault{}, 4<<20)
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	block := make([]byte, 1<<20)
	progress := make(chan int)
	go func() {
		defer close(progress)
		for { // nobody reads: it blocks soon
			n, err := c.Write(block)
			if err != nil {
				return
			}
			progress <- n
		}
	}()
	quiet := time.NewTimer(time.Second)
	defer quiet.Stop()
	for waiting := true; waiting; {
		select {
		case <-progress:
			quiet.Reset(time.Second)
		case <-quiet.C:
			waiting = false
		}
	}
	c.ep.SocketOptions().SetSendBufferSize(8<<20, false) // without a word to the writer
	select {
	case <-progress:
	case <-time.After(30 * time.Second):
		t.Error("the writer sleeps beside 8 MiB of space")
	}
	c.Close()
	for range progress { // until the writer has ended
	}
}
