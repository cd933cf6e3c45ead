package fq

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

const ms = int64(1e6)

type seq struct {
	flow uint32
	n    int
}

func newQueue(limit int, drop func(seq)) *Queue[seq] {
	return &Queue[seq]{Pool: new(Pool[seq]), Drop: drop, Limit: limit}
}

// model is the slow obvious side: per bucket, what is queued, in order.
type model struct {
	t      *testing.T
	queued [Buckets][]seq
	n      int
}

func (m *model) remove(s seq, what string) {
	m.t.Helper()
	i := hash(s.flow)
	if len(m.queued[i]) == 0 || m.queued[i][0] != s {
		m.t.Fatalf("%s %v, which is not the oldest of its flow", what, s)
	}
	m.queued[i] = m.queued[i][1:]
	m.n--
}

// TestModel pushes and pops at random and checks after every step that nothing is
// lost, invented or out of order within its flow, and that the limits hold.
func TestModel(t *testing.T) {
	const seed, limit = 11, 300_000
	r := rand.New(rand.NewPCG(seed, seed))
	m := &model{t: t}
	drops := 0
	q := newQueue(limit, func(s seq) { m.remove(s, "dropped"); drops++ })
	now, pushed, popped, reported := int64(0), 0, 0, 0
	for step := range 50_000 {
		now += r.Int64N(2 * ms)
		if filling := step/2000%2 == 0; r.IntN(10) < 4 || filling && r.IntN(10) < 7 {
			s := seq{flow: uint32(r.IntN(1 + r.IntN(200))), n: step}
			m.queued[hash(s.flow)] = append(m.queued[hash(s.flow)], s)
			m.n++
			pushed++
			size := 1 + r.IntN(1<<r.IntN(17))
			reported += q.Push(now, Item[seq]{Flow: s.flow, Size: size, Mem: size * r.IntN(9), T: s})
		} else {
			before := m.n
			it, ok, dropped := q.Pop(now)
			reported += dropped
			if ok != (before > 0) {
				t.Fatalf("seed %d, step %d: Pop = %v with %d queued", seed, step, ok, before)
			}
			if ok {
				m.remove(it.T, "popped")
				popped++
			}
		}
		if q.Len() != m.n || q.Bytes() > limit || q.mem > memFactor*limit {
			t.Fatalf("seed %d, step %d: Len %d, want %d; %d bytes, %d of memory", seed, step, q.Len(), m.n, q.Bytes(), q.mem)
		}
		if q.Release(); r.IntN(100) == 0 {
			reported += q.Clear()
		}
	}
	reported += q.Clear()
	if pushed != popped+drops || drops != reported || q.Len()+q.Bytes()+q.mem != 0 {
		t.Errorf("pushed %d, popped %d, dropped %d (reported %d); left %d items of %d bytes", pushed, popped, drops, reported, q.Len(), q.Bytes())
	}
	if drops == 0 || popped == 0 {
		t.Error("the trial dropped or popped nothing")
	}
}

// TestSparseFlowPassesFloods: a flow that begins goes ahead of all that have had a
// turn, and from then on waits for at most one turn of each.
func TestSparseFlowPassesFloods(t *testing.T) {
	const floods, sparse = 8, 99
	q := newQueue(64<<20, nil)
	for i := range 100 * floods {
		q.Push(0, Item[seq]{Flow: uint32(i % floods), Size: 16 << 10})
	}
	for range 3 * floods {
		q.Pop(0)
	}
	for round, most := range []int{1, floods + 1, floods + 1} {
		q.Push(0, Item[seq]{Flow: sparse, Size: 100})
		for pops := 1; ; pops++ {
			if it, _, _ := q.Pop(0); it.Flow == sparse {
				break
			}
			if pops == most {
				t.Fatalf("round %d: the sparse flow is not among the first %d", round, most)
			}
		}
		q.Pop(0)
	}
}

// TestSharesAreFair: flows that always have something get equal bytes, whatever
// the size of their items.
func TestSharesAreFair(t *testing.T) {
	sizes := map[uint32]int{1: 64 << 10, 2: 1400, 3: 9000, 4: 200}
	q := newQueue(64<<20, nil)
	got := map[uint32]int{}
	fill := func(f uint32) { q.Push(0, Item[seq]{Flow: f, Size: sizes[f]}) }
	for f := range sizes {
		for range 400 {
			fill(f)
		}
	}
	const rounds = 64 << 20
	for sum := 0; sum < rounds; {
		it, _, _ := q.Pop(0)
		got[it.Flow] += it.Size
		sum += it.Size
		fill(it.Flow)
	}
	for f, n := range got {
		if want := rounds / len(sizes); n < want-want/50 || n > want+want/50 {
			t.Errorf("flow %d with items of %d bytes got %d bytes, want about %d", f, sizes[f], n, want)
		}
	}
}

func TestLimitCostsTheFattest(t *testing.T) {
	var lost []seq
	q := newQueue(10_000, func(s seq) { lost = append(lost, s) })
	q.Push(0, Item[seq]{Flow: 1, Size: 1000, T: seq{1, 0}})
	for n := range 9 {
		q.Push(0, Item[seq]{Flow: 2, Size: 1000, T: seq{2, n}})
	}
	if n := q.Push(0, Item[seq]{Flow: 1, Size: 1000, T: seq{1, 1}}); n != 1 || len(lost) != 1 || lost[0] != (seq{2, 0}) {
		t.Fatalf("Push dropped %d: %v, want the oldest of flow 2", n, lost)
	}
	// Pinned memory counts four times less than bytes do.
	lost = nil
	if n := q.Push(0, Item[seq]{Flow: 3, Mem: 31_000, T: seq{3, 0}}); n != 1 || lost[0] != (seq{3, 0}) {
		t.Errorf("Push dropped %d: %v, want the item that pins 31,000 bytes", n, lost)
	}
	lost = nil
	if n := q.Push(0, Item[seq]{Flow: 3, Mem: 29_000}); n != 0 {
		t.Errorf("Push dropped %d: %v, want none", n, lost)
	}
	if n := q.Push(0, Item[seq]{Flow: 4, Size: 10_001}); n == 0 {
		t.Error("an item above the limit fits")
	}
}

// TestCoDel simulates a line that takes one item per millisecond.
func TestCoDel(t *testing.T) {
	run := func(backlog int, seconds int64, perTick func(ms int64) int) (drops int, first int64) {
		q := newQueue(64<<20, nil)
		for range backlog {
			q.Push(0, Item[seq]{Flow: 1, Size: 1500})
		}
		for now := int64(0); now < seconds*1000*ms; now += ms {
			_, _, d := q.Pop(now)
			if drops += d; drops > 0 && first == 0 {
				first = now
			}
			for range perTick(now / ms) {
				q.Push(now, Item[seq]{Flow: 1, Size: 1500})
			}
		}
		return drops, first
	}
	steady := func(int64) int { return 1 }
	if d, _ := run(3, 5, steady); d != 0 {
		t.Errorf("a queue of 3 ms loses %d items, want none", d)
	}
	if d, _ := run(90, 1, func(int64) int { return 0 }); d != 0 {
		t.Errorf("a burst of 90 ms that goes away loses %d items, want none", d)
	}
	// A queue of 20 ms that stays: the first drop comes Interval after it was first
	// seen above Target (at 5 ms), the others ever faster.
	d, first := run(20, 1, steady)
	if first != 5*ms+Interval {
		t.Errorf("the first drop of a standing queue comes at %d ms, want 105", first/ms)
	}
	if d < 14 || d > 20 {
		t.Errorf("a standing queue of 20 items loses %d in a second, want what it stands above 5 ms", d)
	}
	// An overload that does not heed drops: n drops take about Interval·2·√n.
	d, _ = run(200, 2, steady)
	if d < 70 || d > 110 {
		t.Errorf("a flood loses %d items in 2 s, want about (19/2)² = 90", d)
	}
}

// TestLastItemIsSafe: 64 KiB items on a slow line take longer than Target and
// Interval each; CoDel must not starve them.
func TestLastItemIsSafe(t *testing.T) {
	q := newQueue(0, func(seq) { t.Error("dropped the only item") })
	for now := int64(0); now < 100*Interval; now += 2 * Interval {
		q.Push(now, Item[seq]{Flow: 1, Size: 64 << 10})
		if _, ok, _ := q.Pop(now + 2*Interval - 1); !ok {
			t.Fatal("the only item is gone")
		}
	}
}

func TestIdleQueueIsSmall(t *testing.T) {
	q := newQueue(0, nil)
	if n := unsafe.Sizeof(*q); n > 200 {
		t.Errorf("an idle queue takes %d bytes", n)
	}
	q.Push(0, Item[seq]{Flow: 1, Size: 1})
	q.Release()
	if q.t == nil {
		t.Fatal("Release took the table of a queue with an item in it")
	}
	q.Pop(0)
	q.Release()
	if q.t != nil {
		t.Error("a released queue keeps its table")
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	q := newQueue(0, func(seq) {})
	now := int64(0)
	if n := testing.AllocsPerRun(10, func() {
		for i := range 100 {
			q.Push(now, Item[seq]{Flow: uint32(i % 7), Size: 1400})
			if i%3 != 0 {
				q.Pop(now)
			}
			now += ms
		}
		q.Clear()
	}); n != 0 {
		t.Errorf("%v allocations per 100 pushes and pops, want 0", n)
	}
}

func BenchmarkPushPop(b *testing.B) {
	q := newQueue(0, nil)
	for i := range 100 {
		q.Push(0, Item[seq]{Flow: uint32(i), Size: 1400})
	}
	b.ReportAllocs()
	flow := uint32(0)
	for b.Loop() {
		q.Push(0, Item[seq]{Flow: flow, Size: 1400})
		it, _, _ := q.Pop(0)
		flow = it.Flow
	}
}
