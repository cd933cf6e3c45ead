package session

import (
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// What a pacer does with the queue of its route. Rates are bytes per second of what the
// peer counts: payloads of mux packets.
const (
	// startBytes leave in the first round trip of a route whose rate is not known.
	startBytes = 48 << 10
	minRate    = 32e3
	maxRate    = 12.5e9

	// startGain doubles the rate with each round, until the rate stops growing or the
	// queue grows.
	startGain = 2.0
	// growth is what a round of the start must bring to go on; after startRounds without it
	// the rate is that of the bottleneck.
	growth      = 1.2
	startRounds = 3

	// One round in cycle asks for more, by probeMost at first. Where that loses packets, by
	// half as much the next time: the queue of the bottleneck is short.
	cycle      = 8
	probeMost  = 0.25
	probeLeast = 0.02
	drainGain  = 0.75
	// easeGain is for the round after two in which a queue stood that the pacer did not ask
	// for; easeMost is the least of the rate that they leave. Far ends that stand still for
	// a moment look the same.
	easeGain = 0.92
	easeMost = 0.7
	// starved is the share of its rate that a sender must have sent for a round to say
	// something about the route.
	starved = 0.75

	// queueTarget is the delay by a standing queue that is let be, queueHigh what ends the
	// start.
	queueTarget = 5 * time.Millisecond
	queueHigh   = 8 * time.Millisecond
	// lossHigh is the share of packets lost in a round that says more than chance.
	lossHigh   = 0.02
	lossRounds = 32

	rttUnknown = 300 * time.Millisecond

	minRound = 20 * time.Millisecond
	maxRound = 250 * time.Millisecond
	// delayMemory is how long a shortest delay is believed, rateMemory a highest rate, in
	// time in which the route was kept busy.
	delayMemory = 10 * time.Second
	rateMemory  = 2 * time.Second

	// sendQuantum is the time that one send takes at the pacer's rate. slackMost is how
	// late a sender may be without losing its turn, which it makes up for by a burst;
	// slackLeast where bursts get lost, and for one that had nothing to send.
	sendQuantum = time.Millisecond
	slackMost   = 25 * time.Millisecond
	slackLeast  = 4 * time.Millisecond
	// ackSlack is for reports that are late: it is part of what may be under way.
	ackSlack  = 25 * time.Millisecond
	minWindow = 96 << 10
	// slowFade is in how many reports a long round trip is half forgotten, more or less;
	// slowMost is the longest that counts.
	slowFade = 128
	slowMost = 500 * time.Millisecond
	// silence, after the round trip and half of it, is how long packets may be under way
	// without a report before no more are risked.
	silence = 80 * time.Millisecond

	// maxQuantum is what one GSO send carries at most.
	maxQuantum = 44 * 1343
	minQuantum = packet.MinMTU
	never      = time.Duration(1<<63 - 1)
)

// A pacer keeps one route busy without keeping its queues full. It learns from what the
// peer reports: how much has arrived, and when by the peer's clock.
//
// The rate at which packets arrive is that of the bottleneck while the route is kept busy
// (as in BBR, of which the cycle of probing and draining is, too); how much longer than at
// best they were under way is the queue before it. As the times are those of arrival, a
// late report spoils neither. A queue that stands for a whole round without being asked
// for says that the rate was taken too high: then the last round's counts.
//
// A pacer knows no clock and no socket, and belongs to one goroutine at a time.
type pacer struct {
	log   sentLog
	next  time.Duration // when the next packets may leave
	slack time.Duration // how far that may lie in the past

	trip  lowest        // round trip
	delay lowest        // one way, by two clocks: only differences mean something
	srtt  time.Duration // smoothed round trip; 0: nothing reported yet
	slow  time.Duration // longest round trip of late

	guess time.Duration // of the round trip, before that

	rate  float64       // to send at, bytes/s
	best  highest       // rate of arrival in rounds that kept the route busy
	full  bool          // the start is over: best is the bottleneck's
	grown float64       // rate at which the start last grew
	flat  int           // rounds since
	phase int           // of the cycle; 0 probes, 1 drains
	probe float64       // by how much phase 0 exceeds best
	vain  int           // probes in a row that found no more
	stood float64       // rate of arrival in the last round, if a queue stood in it
	heard time.Duration // the last report, or when packets went under way after all had arrived
	loss  float64       // share of packets lost since the start, smoothed over lossRounds
	tried int           // rounds since the start

	last  arrived // of the last report
	begin arrived // where the round began
	round struct {
		queue time.Duration // shortest in this round
		high  int           // reports in a row that saw a long queue
		begun bool
	}
	queue time.Duration // that stood in the last round
	idle  uint64        // log.bytes when the route last had nothing to carry
	shut  uint64        // log.bytes when the window was last full
}

// An arrived is a state of a route as a report gives it, beside what had been sent then.
type arrived struct {
	at             time.Duration // the peer's clock
	packets, bytes uint64        // that had arrived
	sentAt         time.Duration // our clock: when the last of them left
	sentPackets    uint64        // sent up to that one
	sentBytes      uint64
}

// start prepares a pacer for a route with that round trip, 0 if it is not known.
func (p *pacer) start(now, rtt time.Duration) {
	*p = pacer{log: p.log, probe: probeMost, slack: slackMost / 2}
	p.log.giveUp()
	if rtt <= 0 {
		rtt = rttUnknown
	}
	p.guess = rtt
	p.rate = max(minRate, startBytes/max(rtt, minRound).Seconds())
	p.next, p.heard = now, now
}

// bandwidth returns what the route is believed to carry, bytes/s.
func (p *pacer) bandwidth() float64 {
	if b := p.best.get(); b > 0 {
		return b
	}
	return p.rate
}

// quantum returns how many bytes should leave at once.
func (p *pacer) quantum() int {
	return int(min(max(p.rate*sendQuantum.Seconds(), minQuantum), maxQuantum))
}

// window returns how many bytes may be under way.
func (p *pacer) window() uint64 {
	if p.srtt == 0 {
		return minWindow
	}
	b := p.bandwidth()
	return uint64(max(minWindow, b*(p.trip.get()+p.slow+ackSlack).Seconds()))
}

// wait returns how long after now the next packets may leave: 0 now, never if a report has
// to come first.
func (p *pacer) wait(now time.Duration) time.Duration {
	if n := p.log.flight(); n > 0 && (n >= p.window() || p.silent(now)) {
		p.shut = p.log.bytes
		return never
	}
	return max(0, p.next-now)
}

// silent reports whether packets have been under way for too long.
func (p *pacer) silent(now time.Duration) bool {
	rtt := p.srtt
	if rtt == 0 {
		rtt = 2 * p.guess
	}
	return p.log.flight() > 0 && now-p.heard > rtt+rtt/2+silence
}

// sent notes n packets that leave at now with numbers from seq on, bytes together.
func (p *pacer) sent(now time.Duration, seq uint32, n, bytes int) {
	if p.log.flight() == 0 {
		p.heard = now
	}
	p.log.add(now, seq, n, bytes)
	p.charge(now, bytes)
}

// charge takes bytes that leave at now, numbered or not, from the route's time.
func (p *pacer) charge(now time.Duration, bytes int) {
	p.next = max(p.next, now-p.slack) + time.Duration(float64(bytes)/p.rate*float64(time.Second))
}

// unused notes that the route could have carried more and got nothing.
func (p *pacer) unused(now time.Duration) {
	p.idle = p.log.bytes
	p.next = max(p.next, now-slackLeast)
}

// revive begins anew after a silence that something other than a report has ended.
func (p *pacer) revive(now time.Duration) {
	p.log.giveUp()
	p.round.begun = false
	p.heard, p.next = now, now
	p.rate = max(minRate, p.rate/2)
	p.best.set(p.rate)
}

// report takes a report that has come at now. It returns false if the report is of
// something that was not sent, or has been overtaken.
func (p *pacer) report(now time.Duration, rep muxReport) bool {
	if p.srtt != 0 && (rep.packets < p.last.packets || rep.bytes < p.last.bytes || rep.at < p.last.at) {
		if rep.packets > p.last.packets/2 {
			return false // an older report
		}
		p.round.begun = false // the peer counts anew
	}
	run, ok := p.log.find(rep.seq)
	if !ok {
		return false
	}
	a := arrived{at: rep.at, packets: rep.packets, bytes: rep.bytes, sentAt: run.at}
	a.sentPackets, a.sentBytes = run.upTo(rep.seq)
	p.heard = now
	if rtt := now - run.at - rep.held; rtt > 0 && rtt < maxRTTSample {
		p.trip.add(now, rtt)
		if p.srtt == 0 {
			p.srtt = rtt
		}
		p.srtt += (rtt - p.srtt) / 8
		p.slow = min(max(rtt, p.slow-(p.slow-rtt)/slowFade), slowMost)
	}
	late := rep.at - run.at
	p.delay.add(now, late)
	queue := late - p.delay.get()
	p.last = a
	if !p.round.begun {
		p.newRound(a, queue)
		return true
	}
	p.round.queue = min(p.round.queue, queue)
	if queue > queueHigh {
		p.round.high++
	} else {
		p.round.high = 0
	}
	took := a.at - p.begin.at
	if took >= p.roundLength() || !p.full && took >= minRound/2 && (p.round.high >= 3 || p.lost(a) > lossHigh) {
		p.endRound(a, took)
		p.newRound(a, queue)
	}
	return true
}

func (p *pacer) roundLength() time.Duration { return min(max(p.trip.get(), minRound), maxRound) }

func (p *pacer) newRound(a arrived, queue time.Duration) {
	p.begin, p.round.queue, p.round.begun = a, queue, true
}

// endRound learns from a round that ends with a, took long by the peer's clock.
func (p *pacer) endRound(a arrived, took time.Duration) {
	p.queue = p.round.queue
	sent, got := a.sentBytes-p.begin.sentBytes, min(a.bytes-p.begin.bytes, a.sentBytes-p.begin.sentBytes)
	if a.sentBytes <= p.begin.sentBytes || a.bytes <= p.begin.bytes {
		return
	}
	rate := float64(got) / took.Seconds()
	if sending := a.sentAt - p.begin.sentAt; sending > 0 {
		// Packets cannot arrive faster than they left, but for a queue that ends.
		rate = min(rate, float64(sent)/sending.Seconds())
	}
	lost := p.lost(a)
	if p.full {
		p.loss += (lost - p.loss) / lossRounds
		p.tried++
	}
	busy := p.idle < p.begin.sentBytes // nothing was missing from the route since
	if sending := a.sentAt - p.begin.sentAt; p.full && sending > 0 && float64(sent) < starved*min(p.rate, p.best.get())*sending.Seconds() {
		busy = false // the sender stood still
	}
	if p.shut >= p.begin.sentBytes && p.queue <= queueTarget {
		busy = false // reports stood still
	}
	p.learn(rate, lost, busy, took)
}

// lost returns the share of the round's packets that have been lost before a.
func (p *pacer) lost(a arrived) float64 {
	sent := a.sentPackets - p.begin.sentPackets
	if sent == 0 || a.packets < p.begin.packets {
		return 0
	}
	return max(0, 1-float64(a.packets-p.begin.packets)/float64(sent))
}

// learn takes one round's rate of arrival and chooses the rate of the next.
func (p *pacer) learn(rate, lost float64, busy bool, took time.Duration) {
	rate = min(max(rate, minRate), maxRate)
	congested := lost > lossHigh && (p.queue > queueTarget || lost > 5*lossHigh)
	before := p.best.get()
	if busy {
		p.best.add(rate, took)
	} else if rate > before {
		p.best.add(rate, 0)
	}
	if lost > 0 {
		p.slack = max(p.slack/2, slackLeast)
	} else {
		p.slack = min(p.slack+time.Millisecond, slackMost)
	}
	if !p.full {
		p.starting(rate, congested, busy)
		return
	}
	gain := 1.0
	switch {
	case p.phase == 0: // has probed
		switch {
		case congested || lost > lossHigh/2:
			p.probe = max(p.probe/2, probeLeast)
			p.phase = 1
			p.vain++
		case busy && rate > before*(1+p.probe/2) && p.queue < queueTarget:
			p.probe = min(p.probe*1.5, 2*probeMost) // there is more: on
			p.vain = 0
		default:
			p.probe = min(p.probe*1.2, probeMost)
			p.phase = 1
			if busy {
				p.vain++
			}
		}
	case congested:
		p.best.set(max(rate, easeMost*before))
		gain = easeGain
		p.phase = max(p.phase, 2)
	case p.phase == 1: // has drained
		p.phase = 2
	case p.queue > queueTarget: // used all the time, however little was sent
		if p.stood > 0 {
			p.best.set(min(before, max(rate, p.stood, easeMost*before)))
			gain, rate = easeGain, 0
		}
		p.stood = rate
		p.phase++
	default:
		p.stood = 0
		if busy {
			p.phase++ // there is nothing to probe for while the route is not used
		}
	}
	p.phase %= cycle
	switch {
	case gain != 1:
	case p.phase == 0:
		gain = 1 + p.probe
	case p.phase == 1:
		gain = drainGain
		if p.queue < queueTarget/4 {
			gain = 1
		}
	}
	p.setRate(gain * p.best.get())
}

// starting doubles the rate with each round until it finds the bottleneck's.
func (p *pacer) starting(rate float64, congested, busy bool) {
	switch {
	case rate > p.grown*growth:
		p.grown, p.flat = rate, 0
	case busy:
		p.flat++
	}
	if congested || p.round.high >= 3 || p.queue > queueHigh || p.flat >= startRounds {
		p.full, p.phase, p.round.high = true, 1, 0
		p.setRate(drainGain / 1.5 * p.best.get())
		return
	}
	p.setRate(max(p.rate, startGain*p.best.get()))
}

func (p *pacer) setRate(rate float64) { p.rate = min(max(rate, minRate), maxRate) }

// A lowest is the least of the durations of the last delayMemory, more or less: the
// two halves of that time each keep their own.
type lowest struct {
	now, before time.Duration
	since       time.Duration
	set         bool
}

func (l *lowest) add(now, d time.Duration) {
	switch {
	case !l.set:
		*l = lowest{now: d, before: d, since: now, set: true}
	case now-l.since >= delayMemory/2:
		l.before, l.now, l.since = l.now, d, now
	case d < l.now:
		l.now = d
	}
}

func (l *lowest) get() time.Duration { return min(l.now, l.before) }

// A highest is the greatest rate of the last rateMemory in the same way; the time is
// counted by who adds.
type highest struct {
	now, before float64
	age         time.Duration
}

func (h *highest) add(rate float64, took time.Duration) {
	if h.age += took; h.age >= rateMemory/2 {
		h.before, h.now, h.age = h.now, 0, 0
	}
	h.now = max(h.now, rate)
}

func (h *highest) set(rate float64) { *h = highest{now: rate, before: rate} }
func (h *highest) get() float64     { return max(h.now, h.before) }
