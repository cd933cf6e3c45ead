package noise

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Two rings on a simulated network that delays, reorders and loses. Both sides send
// data all the time and rekey by the rules that Ring documents; whatever data
// arrives must find its keys. Time runs in ticks of one nanosecond.
const (
	simMaxDelay = 10
	simRetry    = 2*simMaxDelay + 5 // a handshake unanswered for so long is given up
)

func simLimits() Limits {
	return Limits{RekeyAfter: 60, TakeoverAfter: 100, RejectAfter: 400, ConfirmWithin: 3*simMaxDelay + 5, RekeyPackets: 1 << 40}
}

type simKind uint8

const (
	simInit simKind = iota // message 1; handshake says which
	simAnswer
	simData // sealed under handshake's keys
)

type simMessage struct {
	kind      simKind
	handshake uint32
	to        int
}

type simSide struct {
	id      cipher.PubKey
	ring    *Ring[struct{}]
	trying  uint32 // our handshake under way
	newest  uint32 // greatest handshake of the peer's: its timestamp
	opened  int
	rekeyed int
}

type sim struct {
	t     *testing.T
	rng   *rand.Rand
	lossy bool
	now   time.Duration
	wire  map[time.Duration][]simMessage
	sides [2]*simSide
	next  uint32 // numbers all handshakes; both sides' index for one is its number
}

func (s *sim) send(kind simKind, handshake uint32, to int) {
	if kind != simData && s.lossy && s.rng.IntN(3) == 0 {
		return
	}
	at := s.now + 1 + time.Duration(s.rng.IntN(simMaxDelay))
	s.wire[at] = append(s.wire[at], simMessage{kind, handshake, to})
}

func (s *sim) epoch(handshake uint32) *Epoch[struct{}] {
	return NewEpoch(Keys{}, handshake, handshake, struct{}{})
}

func (s *sim) begin(i int) {
	side := s.sides[i]
	if side.ring.Begin(s.now) {
		s.next++
		side.trying = s.next
		s.send(simInit, side.trying, 1-i)
	}
}

func (s *sim) tick(i int) {
	r := s.sides[i].ring
	if at, busy := r.Attempt(); busy && s.now-at >= simRetry {
		r.Abort()
	}
	e := r.SendEpoch(s.now)
	// Besides the rule, both sides now and then start on a whim, to make ties: not
	// sooner than what is under way has arrived, or three epochs could not be enough.
	whim := e != nil && s.now-e.made > 2*simMaxDelay && s.rng.IntN(20) == 0 && !r.awaited(r.state.Load().next, s.now)
	if r.NeedRekey(s.now) || whim || (e == nil && i == 0) {
		s.begin(i)
	}
	if e != nil {
		s.send(simData, e.Remote, 1-i)
	}
	r.Sweep(s.now)
}

func (s *sim) receive(m simMessage) {
	side, peer := s.sides[m.to], s.sides[1-m.to]
	r := side.ring
	switch m.kind {
	case simInit:
		if m.handshake <= side.newest {
			return // an old timestamp
		}
		if _, busy := r.Attempt(); busy {
			if WinsTie(side.id, peer.id) {
				return
			}
			r.Abort()
		}
		side.newest = m.handshake
		r.InstallResponder(s.epoch(m.handshake), s.now)
		s.send(simAnswer, m.handshake, 1-m.to)
	case simAnswer:
		if _, busy := r.Attempt(); !busy || side.trying != m.handshake {
			return
		}
		r.InstallInitiator(s.epoch(m.handshake), s.now)
		side.rekeyed++
		s.send(simData, m.handshake, 1-m.to)
	case simData:
		e := r.Lookup(m.handshake, s.now)
		if e == nil {
			s.t.Fatalf("tick %d: side %d has no keys for data under handshake %d: %+v", s.now, m.to, m.handshake, *r.state.Load())
		}
		side.opened++
		r.Confirm(e)
	}
}

func TestRingsLoseNothing(t *testing.T) {
	const seed, ticks = 7, 30_000
	t.Logf("seed %d", seed)
	for _, lossy := range []bool{false, true} {
		s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 0)), lossy: lossy, wire: map[time.Duration][]simMessage{}}
		for i := range s.sides {
			r, err := NewRing[struct{}](simLimits(), nil)
			if err != nil {
				t.Fatal(err)
			}
			s.sides[i] = &simSide{id: cipher.PubKey{0: 2, 32: byte(i)}, ring: r}
		}
		for ; s.now < ticks; s.now++ {
			for _, m := range s.wire[s.now] {
				s.receive(m)
			}
			delete(s.wire, s.now)
			s.tick(0)
			s.tick(1)
		}
		for i, side := range s.sides {
			if side.opened < ticks/2 || side.rekeyed < ticks/400 {
				t.Errorf("lossy %v, side %d: only %d packets and %d rekeys", lossy, i, side.opened, side.rekeyed)
			}
		}
	}
}
