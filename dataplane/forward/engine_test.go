package forward

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

var open = Transit{Allow: true}

func TestForwardRewritesAndBatchesRuns(t *testing.T) {
	e := newTestEngine(t, open)
	a, b := testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	for _, s := range []RuleSpec{
		{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70},
		{In: Neighbour{Peer: a}, InLabel: 8, Out: Neighbour{Peer: b}, OutLabel: 80},
	} {
		if l, err := e.AddRule(s); err != nil || l != s.InLabel {
			t.Fatalf("AddRule(%+v) = %d, %v", s, l, err)
		}
	}
	var burst link.Burst
	fill(&burst, in, 64, 7, 7, 7, 8, 8, 7)
	e.HandleBurst(&burst)
	if want := []packet.Label{70, 70, 70, 80, 80, 70}; !slices.Equal(out.labels, want) {
		t.Errorf("labels out = %v, want %v", out.labels, want)
	}
	if out.runs != 3 {
		t.Errorf("%d sends, want one for each of 3 runs", out.runs)
	}
	rules := e.Rules()
	if got := rules[0]; got.InLabel != 7 || got.Packets != 4 || got.Bytes != 4*64 || len(got.Waiting) != 0 {
		t.Errorf("rule 7 = %+v, want 4 packets, 256 bytes, waiting for nobody", got)
	}
	if d := e.Drops(); len(d) != 0 {
		t.Errorf("drops = %v, want none", d)
	}
}

func TestDropsSayWhy(t *testing.T) {
	a, b, c := testKey(t), testKey(t), testKey(t)
	tests := []struct {
		name  string
		setup func(e *Engine, in, out *fakeLink)
		from  string // "in" or "other"
		label packet.Label
		drop  string
		told  routeError
	}{
		{"unknown static label", nil, "in", 9, "no_label", routeError{CodeNoLabel, 0, 9}},
		{"unknown slot far away", nil, "in", 0xffffffff, "no_label", routeError{CodeNoLabel, 0, 0xffffffff}},
		{"another neighbour", nil, "other", 7, "wrong_link", routeError{CodeNoLabel, 0, 7}},
		{"next link down", func(e *Engine, _, out *fakeLink) { e.LinkDown(out.id, nil) }, "in", 7, "link_down", routeError{CodeLinkDown, 0, 7}},
		{"next link gone", func(e *Engine, _, out *fakeLink) { e.Detach(out.id) }, "in", 7, "link_down", routeError{CodeLinkDown, 0, 7}},
		{"next link refuses", func(_ *Engine, _, out *fakeLink) { out.err = link.ErrDown }, "in", 7, "refused", routeError{CodeLinkDown, 0, 7}},
		{"too big", func(_ *Engine, _, out *fakeLink) { out.mtu = 48 }, "in", 7, "too_big", routeError{CodeTooBig, 48, 7}},
		{"under our own direct label", func(_ *Engine, _, out *fakeLink) { out.direct = 70 }, "in", 7, "direct_label", routeError{CodeNoLabel, 0, 7}},
		{"rule removed", func(e *Engine, _, _ *fakeLink) { _ = e.RemoveRule(7) }, "in", 7, "no_label", routeError{CodeNoLabel, 0, 7}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newTestEngine(t, open)
			in, out, other := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH), e.join(t, c, link.STCPR)
			if _, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}); err != nil {
				t.Fatal(err)
			}
			if tt.setup != nil {
				tt.setup(e, in, out)
			}
			from := in
			if tt.from == "other" {
				from = other
			}
			var burst link.Burst
			fill(&burst, from, 64, tt.label)
			e.HandleBurst(&burst)
			if got, want := e.Drops(), map[string]uint64{tt.drop: 1}; !maps.Equal(got, want) {
				t.Errorf("drops = %v, want %v", got, want)
			}
			if !slices.Equal(from.told, []routeError{tt.told}) {
				t.Errorf("told = %+v, want %+v", from.told, tt.told)
			}
			if len(out.labels) != 0 {
				t.Errorf("%v went out", out.labels)
			}
		})
	}
}

func TestTooBigCostsOnlyItself(t *testing.T) {
	e := newTestEngine(t, open)
	a, b := testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	if _, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}); err != nil {
		t.Fatal(err)
	}
	out.mtu = 64
	var burst link.Burst
	fill(&burst, in, 64, 7, 7, 7, 7)
	burst.Pkt[1] = append(burst.Pkt[1], make([]byte, 16)...)
	e.HandleBurst(&burst)
	if len(out.labels) != 3 || len(in.told) != 1 {
		t.Errorf("%d packets out, %d errors; want 3 and 1", len(out.labels), len(in.told))
	}
}

func TestAddRuleRefuses(t *testing.T) {
	a, b := testKey(t), testKey(t)
	ok := RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}
	tests := []struct {
		name    string
		transit Transit
		change  func(e *Engine, s *RuleSpec)
		want    error
	}{
		{"no transit", Transit{}, func(*Engine, *RuleSpec) {}, ErrTransitOff},
		{"same peer", open, func(_ *Engine, s *RuleSpec) { s.Out.Peer = a }, ErrSamePeer},
		{"myself", open, func(e *Engine, s *RuleSpec) { s.Out.Peer = e.cfg.PubKey }, ErrSamePeer},
		{"no key", open, func(_ *Engine, s *RuleSpec) { s.In.Peer = cipher.PubKey{} }, cipher.ErrZeroKey},
		{"dynamic label by hand", open, func(_ *Engine, s *RuleSpec) { s.InLabel = 1 << 16 }, ErrBadLabel},
		{"link control as out label", open, func(_ *Engine, s *RuleSpec) { s.OutLabel = 0 }, ErrBadLabel},
		{"too many", Transit{Allow: true, MaxRoutes: 1}, func(e *Engine, _ *RuleSpec) {
			_, _ = e.AddRule(RuleSpec{In: ok.In, InLabel: 1, Out: ok.Out, OutLabel: 1})
		}, ErrTooManyRules},
		{"in label taken", open, func(e *Engine, _ *RuleSpec) {
			_, _ = e.AddRule(RuleSpec{In: ok.In, InLabel: 7, Out: ok.Out, OutLabel: 1})
		}, ErrLabelTaken},
		{"out label taken", open, func(e *Engine, _ *RuleSpec) {
			_, _ = e.AddRule(RuleSpec{In: ok.In, InLabel: 1, Out: ok.Out, OutLabel: 70})
		}, ErrLabelTaken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newTestEngine(t, tt.transit)
			s := ok
			tt.change(e, &s)
			before := len(e.Rules())
			if _, err := e.AddRule(s); !errors.Is(err, tt.want) {
				t.Errorf("AddRule = %v, want %v", err, tt.want)
			}
			if got := len(e.Rules()); got != before {
				t.Errorf("%d rules afterwards, want %d", got, before)
			}
		})
	}
}

func TestRulesFollowTheBestLink(t *testing.T) {
	e := newTestEngine(t, open)
	a, b := testKey(t), testKey(t)
	if _, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}); err != nil {
		t.Fatal(err)
	}
	if w := e.Rules()[0].Waiting; len(w) != 2 {
		t.Errorf("waiting for %v, want both neighbours", w)
	}
	in := e.join(t, a, link.SUDPH)
	send := func() {
		var burst link.Burst
		fill(&burst, in, 64, 7)
		e.HandleBurst(&burst)
	}
	expect := func(f *fakeLink, n int, what string) {
		t.Helper()
		if send(); len(f.labels) != n {
			t.Errorf("%s: link carried %d packets, want %d", what, len(f.labels), n)
		}
	}
	dmsg := e.join(t, b, link.DMSG)
	expect(dmsg, 1, "only dmsg")
	tcp := e.join(t, b, link.STCPR)
	expect(tcp, 1, "stcpr is better than dmsg")
	udp := e.join(t, b, link.SUDPH)
	expect(udp, 1, "sudph is best")
	e.LinkDown(udp.id, nil)
	expect(tcp, 2, "sudph is down")
	e.LinkUp(udp.id)
	expect(udp, 2, "sudph is back")
	e.Detach(udp.id)
	e.Detach(tcp.id)
	expect(dmsg, 2, "only dmsg is left")
}

func TestTypedRuleKeepsToItsType(t *testing.T) {
	e := newTestEngine(t, open)
	a, b := testKey(t), testKey(t)
	spec := RuleSpec{In: Neighbour{a, link.STCPR}, InLabel: 7, Out: Neighbour{b, link.STCPR}, OutLabel: 70}
	if _, err := e.AddRule(spec); err != nil {
		t.Fatal(err)
	}
	udpIn, tcpIn := e.join(t, a, link.SUDPH), e.join(t, a, link.STCPR)
	udpOut, tcpOut := e.join(t, b, link.SUDPH), e.join(t, b, link.STCPR)
	var burst link.Burst
	fill(&burst, udpIn, 64, 7)
	e.HandleBurst(&burst)
	fill(&burst, tcpIn, 64, 7)
	e.HandleBurst(&burst)
	if e.Drops()["wrong_link"] != 1 || len(udpOut.labels) != 0 || len(tcpOut.labels) != 1 {
		t.Errorf("drops %v, sudph %v, stcpr %v; want one dropped and one over stcpr", e.Drops(), udpOut.labels, tcpOut.labels)
	}
}

func TestDeliverAndDirect(t *testing.T) {
	e := newTestEngine(t, Transit{})
	a, b := testKey(t), testKey(t)
	la, lb := e.join(t, a, link.SUDPH), e.join(t, a, link.SUDPH)
	other := e.join(t, b, link.SUDPH)
	ends := &fakeEnds{}
	e.Subscribe(ends) // hears of links that were there before
	if ends.attached != 3 || ends.up != 3 {
		t.Fatalf("attached %d, up %d; want 3 each", ends.attached, ends.up)
	}
	var sink fakeSink
	r, err := e.AddDeliver(DeliverSpec{In: Neighbour{Peer: a}, Sink: &sink})
	if err != nil {
		t.Fatal(err)
	}
	var burst link.Burst
	for _, f := range []*fakeLink{la, lb, other} { // a rule takes its neighbour's every link
		fill(&burst, f, 64, r.Label(), r.Label())
		e.HandleBurst(&burst)
	}
	if sink.packets != 4 || sink.runs != 2 || e.Drops()["wrong_link"] != 2 {
		t.Errorf("sink %+v, drops %v; want 4 packets, 2 runs, 2 drops", sink, e.Drops())
	}
	// A direct label is good for one link only, even of the same neighbour.
	v, _ := e.links.Load(la.id)
	direct := v.(*port).direct
	for _, f := range []*fakeLink{la, lb} {
		fill(&burst, f, 64, direct)
		e.HandleBurst(&burst)
	}
	if ends.sink.packets != 1 || e.Drops()["wrong_link"] != 3 {
		t.Errorf("direct sink %+v, drops %v; want 1 packet, 3 drops", ends.sink, e.Drops())
	}
	if err := e.RemoveRule(direct); !errors.Is(err, ErrNoRule) {
		t.Errorf("RemoveRule of a direct label = %v, want ErrNoRule", err)
	}
	e.Detach(la.id)
	fill(&burst, lb, 64, direct)
	e.HandleBurst(&burst)
	if e.Drops()["no_label"] != 1 || ends.detached != 1 {
		t.Errorf("drops %v, detached %d; want the direct label gone", e.Drops(), ends.detached)
	}
}

type fakeEnds struct {
	sink                         fakeSink
	attached, detached, up, down int
}

func (f *fakeEnds) Attached(*link.Link) Sink   { f.attached++; return &f.sink }
func (f *fakeEnds) Detached(*link.Link)        { f.detached++ }
func (f *fakeEnds) LinkUp(*link.Link)          { f.up++ }
func (f *fakeEnds) LinkDown(*link.Link, error) { f.down++ }

type fakeOrigin struct{ got []routeError }

func (o *fakeOrigin) RouteError(code uint8, mtu int) {
	o.got = append(o.got, routeError{code: code, mtu: mtu})
}

func TestRouteErrorsTravelBack(t *testing.T) {
	e := newTestEngine(t, open)
	a, b, c := testKey(t), testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	stranger := e.join(t, c, link.SUDPH)
	if _, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}); err != nil {
		t.Fatal(err)
	}
	var origin fakeOrigin
	g, err := e.AddEgress(Neighbour{Peer: b}, 71, &origin)
	if err != nil {
		t.Fatal(err)
	}
	if g.Link() != out.id || g.Label() != 71 {
		t.Errorf("egress = %p %d, want the link to b and 71", g.Link(), g.Label())
	}
	e.passOn(hint{out.id, CodeTooBig, 1216, 70})
	if want := []routeError{{CodeTooBig, 1216, 7}}; !slices.Equal(in.told, want) {
		t.Errorf("in was told %+v, want %+v", in.told, want)
	}
	e.passOn(hint{out.id, CodeLinkDown, 0, 71})
	if want := []routeError{{code: CodeLinkDown}}; !slices.Equal(origin.got, want) {
		t.Errorf("origin got %+v, want %+v", origin.got, want)
	}
	e.passOn(hint{stranger.id, CodeTooBig, 1216, 70}) // not the neighbour that the rule sends to
	e.passOn(hint{out.id, CodeTooBig, 1216, 72})      // nobody sends under it
	e.RemoveEgress(g)
	e.passOn(hint{out.id, CodeLinkDown, 0, 71})
	if len(in.told) != 1 || len(origin.got) != 1 {
		t.Errorf("told %v, origin %v; want no more", in.told, origin.got)
	}
	if g.Link() != nil {
		t.Error("a removed egress still has a link")
	}
}

func TestExpiry(t *testing.T) {
	e := newTestEngine(t, open)
	e.Close() // no sweeps but ours
	a, b := testKey(t), testKey(t)
	in := e.join(t, a, link.SUDPH)
	e.join(t, b, link.SUDPH)
	l, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, Out: Neighbour{Peer: b}, OutLabel: 70, TTL: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 71}); err != nil {
		t.Fatal(err)
	}
	has := func() bool { return e.table.Load(l.Slot()) != nil }
	e.expire(1 * time.Second)
	var burst link.Burst
	fill(&burst, in, 64, l)
	packet.RouteHeader{Label: l, Kind: packet.KindProbe, Length: 56}.Put(burst.Pkt[0])
	e.HandleBurst(&burst)
	e.expire(9 * time.Second) // refreshed: until 19 s
	fill(&burst, in, 64, l)   // data does not refresh
	e.HandleBurst(&burst)
	if e.expire(18 * time.Second); !has() {
		t.Error("rule expired although a probe passed")
	}
	if e.expire(20 * time.Second); has() {
		t.Error("rule outlived its TTL")
	}
	if e.table.Load(7) == nil {
		t.Error("a rule without TTL expired")
	}
}

func TestTransitLimit(t *testing.T) {
	e := newTestEngine(t, Transit{Allow: true, MaxMbps: 8}) // 1 µs per byte
	a, b := testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	if _, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}); err != nil {
		t.Fatal(err)
	}
	var burst link.Burst
	for ms := range int64(10_000) { // 10 s of 10 packets of 1 KB each ms: ten times too much
		fill(&burst, in, 1008, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7)
		burst.Now = ms * 1e6
		e.HandleBurst(&burst)
	}
	got := len(out.labels) * 1008
	if want := 10_000_000; got < want || got > want+want/50 {
		t.Errorf("%d bytes passed in 10 s, want %d (and a burst of 100 ms)", got, want)
	}
	if in.told[0].code != CodeLimit {
		t.Errorf("told %+v, want code %d", in.told[0], CodeLimit)
	}
}

// TestTableModel runs random changes and packets against a plain map.
func TestTableModel(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	e := newTestEngine(t, open)
	peers := make([]cipher.PubKey, 4)
	links := make([]*fakeLink, len(peers))
	for i := range peers {
		peers[i] = testKey(t)
		links[i] = e.join(t, peers[i], link.SUDPH)
	}
	type entry struct {
		in, out int
		label   packet.Label
	}
	model := make(map[packet.Label]entry)
	var known []packet.Label // every label there ever was
	var burst link.Burst
	for step := range 10_000 {
		switch rng.IntN(4) {
		case 0: // add
			in, out := rng.IntN(4), rng.IntN(4)
			s := RuleSpec{In: Neighbour{Peer: peers[in]}, Out: Neighbour{Peer: peers[out]}, OutLabel: packet.Label(step + 1)}
			if rng.IntN(2) == 0 {
				s.InLabel = packet.Label(1 + rng.IntN(50))
			}
			_, taken := model[s.InLabel]
			l, err := e.AddRule(s)
			if (err == nil) != (in != out && !taken) {
				t.Fatalf("seed %d step %d: AddRule(%+v) = %v", seed, step, s, err)
			}
			if err == nil {
				if _, dup := model[l]; dup {
					t.Fatalf("seed %d step %d: label %d given out twice", seed, step, l)
				}
				model[l] = entry{in, out, s.OutLabel}
				known = append(known, l)
			}
		case 1: // remove
			if len(known) == 0 {
				continue
			}
			l := known[rng.IntN(len(known))]
			_, there := model[l]
			if err := e.RemoveRule(l); (err == nil) != there {
				t.Fatalf("seed %d step %d: RemoveRule(%d) = %v", seed, step, l, err)
			}
			delete(model, l)
		default: // a packet
			if len(known) == 0 {
				continue
			}
			l, from := known[rng.IntN(len(known))], rng.IntN(4)
			for _, f := range links {
				f.labels = f.labels[:0]
			}
			fill(&burst, links[from], 64, l)
			e.HandleBurst(&burst)
			want, there := model[l]
			for i, f := range links {
				switch {
				case there && want.in == from && want.out == i:
					if !slices.Equal(f.labels, []packet.Label{want.label}) {
						t.Fatalf("seed %d step %d: label %d gave %v, want %d", seed, step, l, f.labels, want.label)
					}
				case len(f.labels) != 0:
					t.Fatalf("seed %d step %d: label %d from %d went to %d", seed, step, l, from, i)
				}
			}
		}
	}
}

// TestChangesUnderLoad is for the race detector: packets flow while rules and links
// come and go.
func TestChangesUnderLoad(t *testing.T) {
	e := newTestEngine(t, open)
	a, b := testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	in.quiet, out.quiet = true, true
	spec := RuleSpec{In: Neighbour{Peer: a}, InLabel: 7, Out: Neighbour{Peer: b}, OutLabel: 70}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var burst link.Burst
		for {
			select {
			case <-stop:
				return
			default:
			}
			fill(&burst, in, 64, 7, 7, 7)
			e.HandleBurst(&burst)
		}
	})
	for range 500 {
		if _, err := e.AddRule(spec); err != nil {
			t.Error(err)
			break
		}
		e.LinkDown(out.id, nil)
		e.RouteError(out.id, CodeTooBig, 1200, 70)
		e.LinkUp(out.id)
		if err := e.RemoveRule(7); err != nil {
			t.Error(err)
			break
		}
		e.Rules()
	}
	close(stop)
	wg.Wait()
}

func TestHandleBurstDoesNotAllocate(t *testing.T) {
	e, burst, _ := loaded(t)
	e.HandleBurst(burst)
	n := testing.AllocsPerRun(10, func() {
		for range 100 {
			relabel(burst)
			e.HandleBurst(burst)
		}
	})
	if n != 0 {
		t.Errorf("HandleBurst: %v allocations per 100 bursts, want 0", n)
	}
}

// loaded returns an engine with 1000 rules and a burst of 44 packets for one.
func loaded(t testing.TB) (*Engine, *link.Burst, *fakeLink) {
	e := newTestEngine(t, Transit{Allow: true, MaxMbps: 1e6})
	a, b := testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	in.quiet, out.quiet = true, true
	for i := range 1000 {
		s := RuleSpec{In: Neighbour{Peer: a}, InLabel: packet.Label(1 + i), Out: Neighbour{Peer: b}, OutLabel: packet.Label(1 + i)}
		if _, err := e.AddRule(s); err != nil {
			t.Fatal(err)
		}
	}
	burst := new(link.Burst)
	fill(burst, in, 1408, slices.Repeat([]packet.Label{500}, 44)...)
	return e, burst, out
}

func relabel(b *link.Burst) {
	for _, p := range b.Pkt[:b.N] {
		packet.PutLabel(p, 500)
	}
}

func BenchmarkHandleBurst44(b *testing.B) {
	e, burst, _ := loaded(b)
	b.ReportAllocs()
	for b.Loop() {
		relabel(burst)
		e.HandleBurst(burst)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/44, "ns/packet")
}
