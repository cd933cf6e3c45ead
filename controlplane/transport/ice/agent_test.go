package ice

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// within bounds what should take an instant, on a machine that has much else to do.
const within = 20 * time.Second

// punch runs the checks between two nodes, as the signalling would.
func punch(t *testing.T, a, b *node, stuns []string, patience time.Duration) (ab, ba netip.AddrPort, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	type end struct {
		agent *Agent
		desc  Description
	}
	var ends [2]end
	for i, n := range []*node{a, b} {
		r := NewReflector(n.hub, stuns, nil)
		defer r.Close()
		mapped, err := r.Mapped(ctx)
		if err != nil {
			t.Fatal(err)
		}
		agent, err := n.hub.NewAgent(n.local, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer agent.Close()
		ends[i] = end{agent, agent.Describe(gather([]netip.Addr{n.local.Addr()}, n.local.Port(), mapped))}
	}
	type result struct {
		addr netip.AddrPort
		err  error
	}
	far := make(chan result, 1)
	run := func(i int) (netip.AddrPort, error) {
		d := ends[1-i].desc
		d.Candidates = Admit(d.Candidates, ends[i].desc.Candidates)
		return ends[i].agent.Punch(ctx, i == 0, d)
	}
	go func() { addr, err := run(1); far <- result{addr, err} }()
	ab, err = run(0)
	r := <-far
	return ab, r.addr, errors.Join(err, r.err)
}

func TestPunch(t *testing.T) {
	// Both NATs that cannot be opened are those where no address is right for everybody.
	kinds := map[string]func() *nat{
		"none":       func() *nat { return nil },
		"endpoint":   func() *nat { return &nat{open: true} },
		"restricted": func() *nat { return &nat{} },
		"symmetric":  func() *nat { return &nat{symmetric: true} },
	}
	for an, am := range kinds {
		for bn, bm := range kinds {
			hopeless := an == "symmetric" && (bn == "symmetric" || bn == "restricted") || bn == "symmetric" && an == "restricted"
			t.Run(an+" and "+bn, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				stuns := w.stun("9.9.9.9:3478")
				place := func(private, public string, m *nat) *node {
					if m == nil {
						return w.join(public+":7777", nil)
					}
					m.ip = netip.MustParseAddr(public)
					return w.join(private+":7777", m)
				}
				a := place("192.168.1.5", "1.1.1.1", am())
				b := place("10.0.0.5", "2.2.2.2", bm())
				patience := within
				if hopeless {
					patience = time.Second
				}
				ab, ba, err := punch(t, a, b, stuns, patience)
				if hopeless {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("%v, %v, %v", ab, ba, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if ab.Addr() != netip.MustParseAddr("2.2.2.2") || ba.Addr() != netip.MustParseAddr("1.1.1.1") {
					t.Errorf("%v, %v", ab, ba)
				}
			})
		}
	}
}

func TestPunchIPv6(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("[2001:db8::1]:7777", nil), w.join("[2001:db8::2]:7777", nil)
	ab, ba, err := punch(t, a, b, nil, within)
	if err != nil || ab != b.local || ba != a.local {
		t.Fatalf("%v, %v, %v", ab, ba, err)
	}
}

func TestAgents(t *testing.T) {
	w := newWorld(t)
	n := w.join("1.1.1.1:7777", nil)
	var all []*Agent
	for range maxAgents {
		a, err := n.hub.NewAgent(n.local, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	if _, err := n.hub.NewAgent(n.local, zerolog.Nop()); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := all[0].Punch(context.Background(), true, Description{Ufrag: "abcd", Pwd: strings.Repeat("x", 22)})
		done <- err
	}()
	for _, a := range all {
		a.Close()
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Punch of a closed agent: %v", err)
	}
	if len(n.hub.conns) != 0 || n.hub.busy.Load() != 0 {
		t.Errorf("left behind: %d connections, %d busy", len(n.hub.conns), n.hub.busy.Load())
	}
}

func TestValidate(t *testing.T) {
	for _, d := range []Description{
		{}, {Ufrag: "abcd"}, {Ufrag: "abc", Pwd: strings.Repeat("x", 22)}, {Ufrag: "ab:d", Pwd: strings.Repeat("x", 22)},
		{Ufrag: "abcd", Pwd: strings.Repeat("x", 21)}, {Ufrag: "abcd", Pwd: strings.Repeat("x", 257)},
	} {
		if d.Validate() == nil {
			t.Errorf("%+v passes", d)
		}
	}
}
