package session

import (
	"container/heap"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// A simPath is one direction of a route: a bottleneck with a queue, and a delay.
type simPath struct {
	rate        float64 // bytes/s; 0: nothing gets through
	delay       time.Duration
	queue       int // bytes that may wait
	loss        float64
	free        time.Duration
	dropped     int
	worst       time.Duration // longest wait in the queue since the last look
	carried     int
	jitterEvery time.Duration // the far end stands still for as long as jitter at this pace
	jitter      time.Duration
}

func (p *simPath) admit(now time.Duration, n int, rng *rand.Rand) (time.Duration, bool) {
	if p.rate == 0 {
		return 0, false
	}
	p.free = max(p.free, now)
	if wait := p.free - now; int(wait.Seconds()*p.rate)+n > p.queue || rng.Float64() < p.loss {
		p.dropped++
		return 0, false
	} else {
		p.worst = max(p.worst, wait)
	}
	p.free += time.Duration(float64(n) / p.rate * float64(time.Second))
	p.carried += n
	at := p.free + p.delay
	if p.jitterEvery > 0 {
		if since := at % p.jitterEvery; since < p.jitter {
			at += p.jitter - since
		}
	}
	return at, true
}

type simEvent struct {
	at time.Duration
	n  int
	f  func()
}

type simHeap []simEvent

func (h simHeap) Len() int { return len(h) }
func (h simHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].n < h[j].n
}
func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

const (
	simPacket  = 1343
	simUnit    = 3 // packets that TCP counts as one
	simSegment = 44
)

// A muxSim is one mux session that carries one TCP stream: sender, lanes, paths,
// resequencer, TCP's receiver, and acknowledgements that come back on the quickest path.
type muxSim struct {
	rng    *rand.Rand
	now    time.Duration
	events simHeap
	n      int

	paths []*simPath
	lanes lanes
	queue muxQueue
	seq   uint32
	stops [2]simStop // of the sender's process, and of the receiver's
	re    resequencer
	held  atomic.Int64
	in    []simIn
	armed time.Duration

	// TCP.
	cwnd, ssthresh float64 // packets
	next           int     // packet never sent before
	una            int
	got            map[int]bool
	edge           int // receiver: all before have come
	sentAt         map[int]time.Duration
	flight         int
	resend         []int
	lastAcked      time.Duration // when the latest acknowledged packet was sent
	recover        int
	wmax, tmax     float64
	srtt, base     time.Duration
	limit          float64 // packets under way at most, as netstack's pacer has it
	goodput        int
	refused        int // segments that the queue had no room for
}

type simIn struct {
	packets, bytes uint64
	seq            uint32
	any            bool
	at, told       time.Duration
	since          int
}

func newMuxSim(limit float64, paths ...*simPath) *muxSim {
	s := &muxSim{
		rng: rand.New(rand.NewPCG(1, 2)), paths: paths, in: make([]simIn, len(paths)),
		cwnd: 30, ssthresh: 1e9, got: map[int]bool{}, sentAt: map[int]time.Duration{}, limit: limit,
	}
	s.re.budget, s.re.live = &s.held, len(paths)
	s.re.hold = 2*(paths[1].delay-paths[0].delay) + holdMargin
	s.now = time.Second
	for _, p := range paths {
		l := &lane{usable: true}
		l.start(s.now, 2*p.delay)
		s.lanes = append(s.lanes, l)
	}
	return s
}

// A simStop is a process that stands still now and then, as on a busy machine.
type simStop struct{ every, long time.Duration }

// awake returns the next time from t on when the process runs.
func (p simStop) awake(t time.Duration) time.Duration {
	if p.every == 0 {
		return t
	}
	if since := t % p.every; since < p.long {
		return t + p.long - since
	}
	return t
}

const (
	simSender = iota
	simReceiver
)

// as has f done at t or when that process runs again.
func (s *muxSim) as(process int, t time.Duration, f func()) {
	s.at(s.stops[process].awake(max(t, s.now)), f)
}

func (s *muxSim) at(t time.Duration, f func()) {
	s.n++
	heap.Push(&s.events, simEvent{max(t, s.now), s.n, f})
}

func (s *muxSim) run(d time.Duration) {
	end := s.now + d
	for len(s.events) > 0 && s.events[0].at <= end {
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		e.f()
	}
	s.now = end
}

func (s *muxSim) begin() {
	var tick func()
	tick = func() {
		s.lanes.measure(s.now)
		s.lanes.judge(s.now)
		for i, l := range s.lanes {
			if l.silent(s.now) && s.paths[i].rate > 0 {
				l.revive(s.now)
			}
		}
		s.rto()
		_, trip := s.lanes.skew(s.now) // as netstack does, see Session.Spread
		s.ssthresh = max(s.ssthresh, headroom*s.lanes.rate(s.now)*trip.Seconds()/simPacket)
		s.tcpSend()
		s.pump()
		s.as(simSender, s.now+50*time.Millisecond, tick)
	}
	s.at(s.now, tick)
}

// tcpSend hands down what the window allows.
func (s *muxSim) tcpSend() {
	hdr := make([]byte, 32)
	for {
		room := int(min(s.cwnd, s.limit)) - s.flight
		if room < simUnit {
			return
		}
		first, n := s.next, min(room, simSegment)
		if len(s.resend) > 0 {
			first, n = s.resend[0], 1
			s.resend = s.resend[1:]
			if s.got[first] {
				continue
			}
		} else {
			s.next += n
		}
		for i := range n {
			s.sentAt[first+i] = s.now
		}
		s.flight += n
		binary.BigEndian.PutUint32(hdr[4:], uint32(first))
		if !s.queue.push(s.now, hdr, [][]byte{make([]byte, n*simPacket)}, n*simPacket, 4<<20) {
			s.refused++ // lost at once; TCP finds out
		}
		s.pump()
	}
}

// pump sends what the pacers allow.
func (s *muxSim) pump() {
	for {
		seg := s.queue.first()
		if seg == nil {
			s.lanes.empty(s.now)
			return
		}
		skew, trip := s.lanes.skew(s.now)
		if s.queue.shed(s.now, max(20*time.Millisecond, skew+trip/2), simPacket) {
			continue
		}
		l, wait := s.lanes.pick(s.now, s.queue.bytes)
		if l == nil {
			if wait != never && (s.armed <= s.now || s.now+wait < s.armed) {
				s.armed = s.now + wait
				// A timer is late by up to a millisecond.
				s.as(simSender, s.armed+time.Duration(s.rng.IntN(1000))*time.Microsecond, s.pump)
			}
			return
		}
		n := min(max(1, l.quantum()/simPacket), (seg.total-seg.done)/simPacket)
		first := int(binary.BigEndian.Uint32(seg.hdr[4:])) + seg.done/simPacket
		s.queue.skip(n * simPacket)
		l.sent(s.now, s.seq, n, n*simPacket)
		i := 0
		for k, o := range s.lanes {
			if o == l {
				i = k
			}
		}
		for k := range n {
			if due, ok := s.paths[i].admit(s.now, simPacket, s.rng); ok {
				seq := s.seq + uint32(k)
				s.as(simReceiver, due, func() { s.arrive(i, seq, first+k) })
			}
		}
		s.seq += uint32(n)
	}
}

func (s *muxSim) arrive(i int, seq uint32, p int) {
	in := &s.in[i]
	in.packets++
	in.bytes += simPacket
	in.since++
	if !in.any || int32(seq-in.seq) > 0 {
		in.seq, in.any, in.at = seq, true, s.now
	}
	if d := s.now - in.told; d >= 4*time.Millisecond && in.since >= 16 || d >= 25*time.Millisecond {
		s.report(i)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(p))
	if s.re.add(s.now, uint64(i+1), seq, b[:]) {
		s.tcpReceive(p)
	}
	s.drain()
}

func (s *muxSim) drain() {
	for b, ok := s.re.next(s.now); ok; b, ok = s.re.next(s.now) {
		s.tcpReceive(int(binary.BigEndian.Uint64(b)))
	}
	s.re.free()
	if d, ok := s.re.deadline(); ok {
		s.as(simReceiver, d, func() {
			if at, ok := s.re.deadline(); ok && at <= s.now {
				s.drain()
			}
		})
	}
}

func (s *muxSim) report(i int) {
	in := &s.in[i]
	in.since, in.told = 0, s.now
	rep := muxReport{seq: in.seq, held: s.now - in.at, at: in.at + 100*time.Hour, packets: in.packets, bytes: in.bytes}
	s.as(simSender, s.now+s.paths[i].delay, func() {
		s.lanes[i].report(s.now, rep)
		s.lanes.measure(s.now)
		s.pump()
	})
}

func (s *muxSim) tcpReceive(p int) {
	if !s.got[p] {
		s.got[p] = true
	}
	for s.got[s.edge] {
		s.edge++
	}
	back := s.paths[0].delay
	for _, q := range s.paths {
		back = min(back, q.delay)
	}
	edge := s.edge
	s.as(simSender, s.now+back, func() { s.ack(edge, p) })
}

func (s *muxSim) ack(edge, p int) {
	sent, ok := s.sentAt[p]
	if ok {
		rtt := s.now - sent
		if s.base == 0 || rtt < s.base {
			s.base = rtt
		}
		s.srtt = rtt
		delete(s.sentAt, p)
		s.flight--
		s.goodput++
		s.lastAcked = max(s.lastAcked, sent)
		s.grow()
	}
	for s.una < edge {
		s.una++
	}
	// RACK: what was sent a quarter of a round trip before what has arrived is lost.
	for q := s.una; q < s.next && q < s.una+2*simSegment; q++ {
		at, ok := s.sentAt[q]
		if ok && s.lastAcked-at > s.base/4 {
			delete(s.sentAt, q)
			s.flight--
			s.resend = append(s.resend, q)
			if q >= s.recover {
				s.recover = s.next
				s.wmax, s.tmax = s.cwnd, s.now.Seconds()
				s.cwnd = max(s.cwnd*0.7, 6)
				s.ssthresh = s.cwnd
			}
		}
	}
	s.tcpSend()
}

func (s *muxSim) rto() {
	for q := s.una; q < s.una+1 && q < s.next; q++ {
		if at, ok := s.sentAt[q]; ok && s.now-at > 2*s.srtt+300*time.Millisecond {
			for p := s.una; p < s.next; p++ {
				if _, ok := s.sentAt[p]; ok {
					delete(s.sentAt, p)
					s.flight--
					s.resend = append(s.resend, p)
				}
			}
			s.ssthresh, s.cwnd, s.recover = max(s.cwnd*0.7, 6), 30, s.next
		}
	}
}

func (s *muxSim) grow() {
	if s.cwnd < s.ssthresh {
		s.cwnd++
		return
	}
	w, t := s.wmax/simUnit, s.now.Seconds()-s.tmax
	k := math.Cbrt(w * 0.3 / 0.4)
	t -= k
	target := (0.4*t*t*t + w) * simUnit
	if target > s.cwnd {
		s.cwnd += min((target-s.cwnd)/s.cwnd, 0.5)
	}
}

const simMbit = 1e6 / 8

// headroom is by how much netstack lets a stream have more under way than the paths hold;
// with noLimit its congestion window alone rules.
const (
	headroom = 1.25
	noLimit  = 100
)

// brings returns what the stream brings within d, in Mbit/s.
func (s *muxSim) brings(d time.Duration) float64 {
	before := s.goodput
	s.run(d)
	return float64(s.goodput-before) * simPacket / simMbit / d.Seconds()
}

// TestMuxSim runs one stream over two paths of 50 Mbit/s or other ones.
func TestMuxSim(t *testing.T) {
	const ms = time.Millisecond
	path := func(mbit float64, delay, queue time.Duration) simPath {
		rate := mbit * simMbit
		return simPath{rate: rate, delay: delay, queue: int(rate * queue.Seconds())}
	}
	stalls := func(p simPath, every time.Duration) simPath {
		p.jitter, p.jitterEvery = 8*ms, every
		return p
	}
	tests := []struct {
		name  string
		paths [2]simPath
		limit float64 // of what is under way, times what the paths hold
		want  float64 // of the sum of the rates
	}{
		{"20 ms apart", [2]simPath{path(50, 1*ms, 50*ms), path(50, 11*ms, 50*ms)}, headroom, 0.95},
		{"20 ms apart and far", [2]simPath{path(50, 10*ms, 50*ms), path(50, 20*ms, 50*ms)}, headroom, 0.95},
		{"short queues", [2]simPath{path(50, 10*ms, 10*ms), path(50, 20*ms, 10*ms)}, headroom, 0.8},
		{"uneven", [2]simPath{path(20, 5*ms, 200*ms), path(100, 40*ms, 50*ms)}, headroom, 0.9},
		{"TCP that fills every queue", [2]simPath{path(50, 1*ms, 50*ms), path(50, 11*ms, 50*ms)}, noLimit, 0.95},
		{"far ends that stand still", [2]simPath{stalls(path(50, 1*ms, 50*ms), 50*ms), stalls(path(50, 11*ms, 50*ms), 70*ms)}, headroom, 0.9},
		{"not worth it", [2]simPath{path(50, 5*ms, 50*ms), path(1, 200*ms, 500*ms)}, headroom, 0.95},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := &tt.paths[0], &tt.paths[1]
			s := newMuxSim(tt.limit*(a.rate+b.rate)*(2*max(a.delay, b.delay)).Seconds()/simPacket, a, b)
			s.begin()
			s.run(4 * time.Second)
			if got, want := s.brings(2*time.Second), tt.want*(a.rate+b.rate)/simMbit; got < want {
				t.Errorf("%.1f Mbit/s, want %.1f", got, want)
			}
			if n := s.held.Load(); n < 0 || n > reseqMost {
				t.Errorf("%d bytes held", n)
			}
		})
	}
}

// TestMuxSimQueues: what stands in the queues of the paths is little, whatever TCP does.
func TestMuxSimQueues(t *testing.T) {
	const ms = time.Millisecond
	a := &simPath{rate: 50 * simMbit, delay: 10 * ms, queue: 50 * simMbit / 2}
	b := &simPath{rate: 50 * simMbit, delay: 20 * ms, queue: 50 * simMbit / 2}
	s := newMuxSim(1e9, a, b)
	s.begin()
	s.run(4 * time.Second)
	a.worst, b.worst = 0, 0
	s.run(3 * time.Second)
	for _, p := range []*simPath{a, b} {
		if p.worst > 40*ms || p.dropped > 0 {
			t.Errorf("a queue of %v, %d packets lost; it may hold %d ms", p.worst, p.dropped, 500)
		}
	}
}

// TestMuxSimChange: one of two paths changes for the worse, and the stream goes on as fast
// as the other carries it.
func TestMuxSimChange(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name   string
		change func(p *simPath)
	}{
		{"dies", func(p *simPath) { p.rate = 0 }},
		{"has a tenth of the rate", func(p *simPath) { p.rate /= 10 }},
		{"is longer", func(p *simPath) { p.delay += 60 * ms }},
		{"loses packets", func(p *simPath) { p.loss = 0.1 }},
	}
	for _, tt := range tests {
		for victim, which := range []string{"the quicker", "the slower"} {
			t.Run(which+" "+tt.name, func(t *testing.T) {
				a := &simPath{rate: 50 * simMbit, delay: 10 * ms, queue: 50 * simMbit / 20}
				b := &simPath{rate: 50 * simMbit, delay: 20 * ms, queue: 50 * simMbit / 20}
				s := newMuxSim(headroom*100*simMbit*0.04/simPacket, a, b)
				s.begin()
				s.run(3 * time.Second)
				tt.change(s.paths[victim])
				if got := s.brings(time.Second); got < 35 {
					t.Errorf("%.1f Mbit/s in the first second after, want 35", got)
				}
				s.run(2 * time.Second)
				if got := s.brings(2 * time.Second); got < 47 {
					t.Errorf("%.1f Mbit/s later, want 47", got)
				}
			})
		}
	}
}

// TestMuxSimBusyMachine: all that has a part in it stands still for a while now and then.
func TestMuxSimBusyMachine(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		long time.Duration // each of 90 to 170 ms
		want float64
	}{{10 * ms, 85}, {30 * ms, 50}, {60 * ms, 25}}
	for _, tt := range tests {
		t.Run(tt.long.String(), func(t *testing.T) {
			long := tt.long
			a := &simPath{rate: 50 * simMbit, delay: 1 * ms, queue: 50 * simMbit / 10, jitter: long / 2, jitterEvery: 110 * ms}
			b := &simPath{rate: 50 * simMbit, delay: 11 * ms, queue: 50 * simMbit / 10, jitter: long / 2, jitterEvery: 90 * ms}
			s := newMuxSim(4*100*simMbit*0.022/simPacket, a, b)
			s.stops = [2]simStop{{130 * ms, long}, {170 * ms, long}}
			s.begin()
			s.run(4 * time.Second)
			if got := s.brings(4 * time.Second); got < tt.want {
				t.Errorf("%.1f Mbit/s, want %.0f", got, tt.want)
			}
		})
	}
}
