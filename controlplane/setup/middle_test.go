package setup_test

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/setup/setuptest"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// A view is all that a visor in the middle of a route holds and sees, without what is
// drawn at random: labels, and the key phase of a session.
type view struct {
	requests []string // in order: what setup nodes asked for, headers and all
	rules    []string
	packets  []string // which (neighbour, kind, flags, size) there were
}

var labelText = regexp.MustCompile(`"[0-9a-f]{8}"`)

// sight describes a packet. Which sizes a search for the MTU tries depends on what gets
// lost; that they are large is what shows.
func sight(from cipher.PubKey, h packet.RouteHeader, size int) string {
	kind, length := fmt.Sprint("kind ", h.Kind), fmt.Sprint(size)
	if h.Kind == packet.KindProbe && size > 256 {
		kind, length = "MTU probe", "large"
	}
	return fmt.Sprintf("from %s %s flags %d size %s", from.Short(), kind, h.Flags&^packet.PhaseMask, length)
}

// watch makes a route along path, runs a session over it, and returns what visor sees.
func watch(t *testing.T, class uint32, visor *setuptest.Visor, path ...*setuptest.Visor) view {
	t.Helper()
	var (
		mu      sync.Mutex
		got     view
		packets = map[string]bool{}
	)
	visor.Watch(func(b *link.Burst) {
		mu.Lock()
		defer mu.Unlock()
		for _, pkt := range b.Pkt[:b.N] {
			if h, _, ok := packet.ParseRoute(pkt); ok && h.Label > packet.MaxStaticLabel && h.Label != b.From.DirectIn() {
				packets[sight(b.From.Peer(), h, len(pkt))] = true
			}
		}
	}, func(r *http.Request, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		caller, _, _ := strings.Cut(r.RemoteAddr, ":")
		headers := fmt.Sprint(slices.Sorted(maps.Keys(r.Header)), r.Header)
		got.requests = append(got.requests, fmt.Sprintf("%s from %s: %s %s %s; %d bytes: %s",
			r.Host, caller, r.Method, r.URL, headers, len(body), labelText.ReplaceAllString(string(body), `"label"`)))
	})
	src, dst := path[0], path[len(path)-1]
	route := src.Establish(t, setup.Request{Path: setuptest.Path(path[1:]...), Class: class, TTL: middleTTL}, func() {
		setuptest.Eventually(t, "what was begun is gone", func() bool { return len(forwards(visor)) == 0 })
		mu.Lock()
		got.requests = nil
		mu.Unlock()
	})
	info, err := src.AddRoute(dst, class, route)
	if err != nil {
		t.Fatal(err)
	}
	out, err := src.Sessions.DialClass(t.Context(), dst.PK, class)
	if err != nil {
		t.Fatal(err)
	}
	back, err := dst.Sessions.DialClass(t.Context(), src.PK, class)
	if err != nil {
		t.Fatal(err)
	}
	// Both ends look for the path MTU first; data is sent when they have found it, so
	// that the sizes are those of the same moment.
	settled := func(v *setuptest.Visor) bool {
		return slices.ContainsFunc(v.Sessions.Routes(), func(r session.RouteInfo) bool {
			return r.Class == class && r.MTU > 8000 && r.State == session.StateUp && r.RTT > 0
		})
	}
	setuptest.Eventually(t, "both ends know the MTU", func() bool { return settled(src) && settled(dst) })
	for _, s := range []*session.Session{out, back} {
		if err := s.SendPacket(packet.ProtoUDP, []byte{0, 1, 0, 2}, make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
	}
	// Of either neighbour: data, session messages, probes large and small, replies.
	setuptest.Eventually(t, "packets of all kinds", func() bool {
		mu.Lock()
		defer mu.Unlock()
		kinds := map[string]bool{}
		for p := range packets {
			kind, _, _ := strings.Cut(p, " size")
			kinds[kind] = true
		}
		return len(kinds) >= 2*5
	})
	for _, r := range forwards(visor) {
		got.rules = append(got.rules, fmt.Sprintf("%s %s -> %s ttl %v waiting %v", r.Op, r.In, r.Out, r.TTL, r.Waiting))
	}
	visor.Watch(nil, nil)
	if err := src.Sessions.RemoveRoute(info.ID); err != nil {
		t.Fatal(err)
	}
	setuptest.Eventually(t, "the rules are gone", func() bool { return len(forwards(visor)) == 0 })
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(got.rules)
	got.packets = slices.Sorted(maps.Keys(packets))
	return got
}

// middleTTL is short, so that probes are frequent.
const middleTTL = 4 * time.Second

// add joins the packets of w to those of v, whose requests and rules must be the same.
func (v view) add(t *testing.T, w view) view {
	t.Helper()
	if v.requests != nil && (!slices.Equal(v.requests, w.requests) || !slices.Equal(v.rules, w.rules)) {
		t.Fatalf("the same route looks different the second time: %v, then %v", v, w)
	}
	w.packets = append(slices.Clone(v.packets), w.packets...)
	slices.Sort(w.packets)
	w.packets = slices.Compact(w.packets)
	return w
}

// TestMiddleSeesTheSame compares what visor 2 holds and sees when its neighbours 1 and 3
// are the ends of a route and when they pass it on themselves:
//
//	0 ── 1 ──[2]── 3        3 is the destination
//	     1 ──[2]── 3 ── 4   1 is the source
//	0 ── 1 ──[2]── 3 ── 4   neither
//
// It must be the same. A message that is repeated because the machine is slow may differ
// from the first one, so what is seen is gathered over some rounds: what only one of the
// three ever shows stays a difference.
func TestMiddleSeesTheSame(t *testing.T) {
	n := setuptest.New(t, 5, nil)
	n.Chain(n.Visors...)
	v := n.Visors
	cases := []struct {
		name string
		path []*setuptest.Visor
		view view
	}{
		{name: "3 is the destination", path: v[:4]},
		{name: "1 is the source", path: v[1:]},
		{name: "neither is an end", path: v},
	}
	const rounds = 5
	class := uint32(0)
	for round := range rounds {
		for i := range cases {
			class++
			cases[i].view = cases[i].view.add(t, watch(t, class, v[2], cases[i].path...))
		}
		same := slices.Equal(cases[0].view.packets, cases[2].view.packets) && slices.Equal(cases[1].view.packets, cases[2].view.packets)
		if same || round == rounds-1 {
			break
		}
	}
	want := cases[2].view
	if len(want.requests) != 2 || len(want.rules) != 2 || len(want.packets) < 10 {
		t.Fatalf("the view is not whole: %+v", want)
	}
	for _, c := range cases {
		for _, part := range []struct {
			name      string
			got, want []string
		}{
			{"requests", c.view.requests, want.requests},
			{"rules", c.view.rules, want.rules},
			{"packets", c.view.packets, want.packets},
		} {
			if !slices.Equal(part.got, part.want) {
				t.Errorf("%s: %s differ from those of a hop between transits:\n got %s\nwant %s", c.name, part.name,
					strings.Join(part.got, "\n     "), strings.Join(part.want, "\n     "))
			}
		}
		for _, r := range c.view.requests {
			for _, other := range []cipher.PubKey{v[0].PK, v[4].PK} {
				if strings.Contains(r, other.String()) {
					t.Errorf("%s: a request names a visor that is no neighbour: %s", c.name, r)
				}
			}
		}
	}
}
