package setup

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// hopRig is a visor between two neighbours, and the setup node that it trusts.
type hopRig struct {
	*fakeWorld
	v *fakeVisor
}

func newHopRig(t *testing.T) hopRig {
	w := newFakeWorld(t, 3, 1)
	return hopRig{w, w.visors[1]}
}

func (r hopRig) post(from cipher.PubKey, path string, in, out any) *Error {
	return call(context.Background(), fakeTransport{r.fakeNet, from}, r.v.pk, HopPort, path, in, out)
}

// reserve has labels reserved for the neighbours by their indices.
func (r hopRig) reserve(neighbours ...int) ([]label, *Error) {
	var in reserveRequest
	for _, i := range neighbours {
		in.From = append(in.From, neighbour{PK: r.visors[i].pk})
	}
	var out reserveReply
	bad := r.post(r.keys[0], pathReserve, &in, &out)
	return out.Labels, bad
}

func (r hopRig) rules(labels []label, ttl int64) *installRequest {
	a, b := neighbour{PK: r.visors[0].pk}, neighbour{PK: r.visors[2].pk}
	return &installRequest{TTL: ttl, Rules: []rule{
		{In: a, InLabel: labels[0], Out: b, OutLabel: 1 << 20},
		{In: b, InLabel: labels[1], Out: a, OutLabel: 1 << 21},
	}}
}

// TestHopTrusts: a visor obeys the setup nodes of its configuration and no other.
func TestHopTrusts(t *testing.T) {
	r := newHopRig(t)
	stranger, _ := cipher.GenerateKeyPair()
	for path, in := range map[string]any{
		pathReserve: &reserveRequest{From: []neighbour{{PK: r.visors[0].pk}}},
		pathInstall: r.rules([]label{1, 2}, 1000),
		pathAccept:  &acceptRequest{},
		pathRelease: &releaseRequest{},
	} {
		if bad := r.post(stranger, path, in, &none{}); bad == nil || bad.Code != CodeForbidden {
			t.Errorf("%s: %v", path, bad)
		}
	}
	r.v.hop.SetNodes(nil)
	if _, bad := r.reserve(0, 2); bad == nil || bad.Code != CodeForbidden {
		t.Errorf("a node that is no longer trusted: %v", bad)
	}
	// Another setup node that is trusted cannot take over or take back what this one has.
	other, _ := cipher.GenerateKeyPair()
	r.v.hop.SetNodes([]cipher.PubKey{r.keys[0], other})
	labels, bad := r.reserve(0, 2)
	if bad != nil {
		t.Fatal(bad)
	}
	if bad := r.post(other, pathInstall, r.rules(labels, 1000), &none{}); bad == nil || bad.Code != CodeBadRequest {
		t.Errorf("another's labels: %v", bad)
	}
	if bad := r.post(other, pathRelease, &releaseRequest{labels}, &none{}); bad != nil {
		t.Error(bad)
	}
	if bad := r.post(r.keys[0], pathInstall, r.rules(labels, 1000), &none{}); bad != nil {
		t.Errorf("another node's release took our labels: %v", bad)
	}
	if bad := r.post(other, pathRelease, &releaseRequest{labels}, &none{}); bad != nil || len(r.v.table.Rules()) != 2 {
		t.Errorf("another node's release took our rules: %v", bad)
	}
	if bad := r.post(r.keys[0], pathRelease, &releaseRequest{labels}, &none{}); bad != nil || len(r.v.table.Rules()) != 0 {
		t.Errorf("our own did not: %v", bad)
	}
}

// TestHopRefuses: requests that contradict themselves or the visor.
func TestHopRefuses(t *testing.T) {
	r := newHopRig(t)
	r.v.down[r.visors[2].pk] = true
	if _, bad := r.reserve(0, 2); bad == nil || bad.Code != CodeNoLink || bad.Neighbour != r.visors[2].pk {
		t.Errorf("no link: %v", bad)
	}
	delete(r.v.down, r.visors[2].pk)
	for _, from := range [][]int{{}, {0, 2, 0}, {1}} {
		if _, bad := r.reserve(from...); bad == nil || bad.Code != CodeBadRequest {
			t.Errorf("reserve for %v: %v", from, bad)
		}
	}
	labels, bad := r.reserve(0, 2)
	if bad != nil {
		t.Fatal(bad)
	}
	tests := map[string]func(*installRequest){
		"no rule":           func(in *installRequest) { in.Rules = nil },
		"three rules":       func(in *installRequest) { in.Rules = append(in.Rules, in.Rules...) },
		"two that turn":     func(in *installRequest) { in.Rules[1].Out = in.Rules[1].In },
		"one that does not": func(in *installRequest) { in.Rules = in.Rules[:1] },
		"foreign label":     func(in *installRequest) { in.Rules[1].InLabel++ },
		"static label":      func(in *installRequest) { in.Rules[1].InLabel = 7 },
		"labels swapped": func(in *installRequest) {
			in.Rules[0].InLabel, in.Rules[1].InLabel = in.Rules[1].InLabel, in.Rules[0].InLabel
		},
		"no time to live":   func(in *installRequest) { in.TTL = 0 },
		"negative lifetime": func(in *installRequest) { in.TTL = -1 },
	}
	for name, edit := range tests {
		labels, bad = r.reserve(0, 2)
		if bad != nil {
			t.Fatal(bad)
		}
		in := r.rules(labels, 1000)
		edit(in)
		if bad := r.post(r.keys[0], pathInstall, in, &none{}); bad == nil || bad.Code != CodeBadRequest {
			t.Errorf("%s: %v", name, bad)
		}
		if n := len(r.v.table.Rules()); n != 0 {
			t.Errorf("%s: %d rules are left", name, n)
		}
	}
	if bad := r.post(r.keys[0], pathInstall, r.rules(labels, 1<<62), &none{}); bad != nil {
		t.Fatal(bad)
	}
	for _, rule := range r.v.table.Rules() {
		if rule.TTL != MaxTTL {
			t.Errorf("TTL %v, want the cap %v", rule.TTL, MaxTTL)
		}
	}
}

// TestHopTransitOff: a visor that carries nothing for others says so.
func TestHopTransitOff(t *testing.T) {
	r := newHopRig(t)
	r.v = r.visor(false)
	labels, bad := r.reserve(0, 2)
	if bad != nil {
		t.Fatal(bad)
	}
	if bad := r.post(r.keys[0], pathInstall, r.rules(labels, 1000), &none{}); bad == nil || bad.Code != CodeTransit {
		t.Errorf("got %v", bad)
	}
}

// TestHopQuota: one setup node gets so many labels; those that have expired count no
// more.
func TestHopQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHopRig(t)
		r.v.hop.cfg.Limits.Labels, r.v.hop.cfg.Limits.Reserved = 6, 4
		var labels []label
		for range 2 {
			l, bad := r.reserve(0, 2)
			if bad != nil {
				t.Fatal(bad)
			}
			labels = append(labels, l...)
		}
		if _, bad := r.reserve(0, 2); bad == nil || bad.Code != CodeQuota {
			t.Errorf("a fifth reservation: %v", bad)
		}
		if bad := r.post(r.keys[0], pathInstall, r.rules(labels[:2], 60_000), &none{}); bad != nil {
			t.Fatal(bad)
		}
		if _, bad := r.reserve(0, 2); bad != nil {
			t.Errorf("two became rules: %v", bad)
		}
		if _, bad := r.reserve(0); bad == nil || bad.Code != CodeQuota {
			t.Errorf("a seventh label: %v", bad)
		}
		time.Sleep(reservation + 2*time.Second)
		if _, bad := r.reserve(0, 2); bad != nil {
			t.Errorf("the reservations have expired: %v", bad)
		}
		time.Sleep(2 * time.Minute)
		if _, bad := r.reserve(0, 2); bad != nil {
			t.Errorf("the rules have expired: %v", bad)
		}
		b := r.v.hop.book(r.keys[0])
		if len(b.entries) != 2 || b.pending != 2 {
			t.Errorf("the book has %d entries, %d pending; want 2 and 2", len(b.entries), b.pending)
		}
	})
}

// TestDestination: a statement has to be the source's, for this visor, by this node, new
// and fresh.
func TestDestination(t *testing.T) {
	other, _ := cipher.GenerateKeyPair()
	tests := []struct {
		name  string
		edit  func(*statement, *routeRequest)
		after func(*acceptRequest)
		want  Code
	}{
		{name: "as it should be"},
		{name: "for another destination", edit: func(s *statement, _ *routeRequest) { s.Destination = other }, want: CodeForbidden},
		{name: "for another node", edit: func(s *statement, _ *routeRequest) { s.Node = other }, want: CodeForbidden},
		{name: "by another source", edit: func(s *statement, _ *routeRequest) { s.Source = other }, want: CodeSignature},
		{name: "forged", after: func(in *acceptRequest) { in.Signature[7] ^= 4 }, want: CodeSignature},
		{name: "old", edit: func(s *statement, _ *routeRequest) { s.Time -= 61_000 }, want: CodeClock},
		{name: "a label that is not reserved", after: func(in *acceptRequest) { in.InLabel++ }, want: CodeBadRequest},
		{name: "not a statement", after: func(in *acceptRequest) { in.Signed = nil }, want: CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newHopRig(t)
			r.v = r.visors[2]
			labels, bad := r.reserve(1)
			if bad != nil {
				t.Fatal(bad)
			}
			signed := r.signed(tt.edit)
			in := &acceptRequest{Signed: signed.Signed, Signature: signed.Signature, Neighbour: neighbour{PK: r.visors[1].pk}, InLabel: labels[0], OutLabel: 1 << 20}
			if tt.after != nil {
				tt.after(in)
			}
			bad = r.post(r.keys[0], pathAccept, in, &none{})
			if codeOf(errOf(bad)) != tt.want {
				t.Errorf("got %v, want %q", bad, tt.want)
			}
			if n := r.v.sessions.count(); (n == 1) != (tt.want == "") {
				t.Errorf("%d routes", n)
			}
			if tt.want != "" {
				return
			}
			if in.InLabel, bad = first(r.reserve(1)); bad != nil {
				t.Fatal(bad)
			}
			if bad := r.post(r.keys[0], pathAccept, in, &none{}); bad == nil || bad.Code != CodeReplay {
				t.Errorf("replayed: %v", bad)
			}
			if bad := r.post(r.keys[0], pathRelease, &releaseRequest{labels}, &none{}); bad != nil || r.v.sessions.count() != 0 {
				t.Errorf("not taken back: %v", bad)
			}
		})
	}
}

// TestSourceQuota: of one source so many routes end at a visor; one that is taken back
// makes room.
func TestSourceQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes: fake routes are not in the table, where a book looks
		w := newFakeWorld(t, 2, 1)
		hop := w.visors[1].hop
		hop.cfg.Limits.Source = 2
		establish := func() error {
			_, err := w.visors[0].client.Establish(t.Context(), Request{Path: w.path()})
			return err
		}
		for range 2 {
			if err := establish(); err != nil {
				t.Fatal(err)
			}
		}
		if err := establish(); codeOf(err) != CodeQuota {
			t.Errorf("a third route: %v", err)
		}
		b := hop.book(w.keys[0])
		b.mu.Lock()
		for l, e := range b.entries {
			if e.kind == ofRoute {
				b.free(l, hop.cfg.Table, hop.cfg.Sessions)
				break
			}
		}
		b.mu.Unlock()
		if err := establish(); err != nil {
			t.Errorf("after one was taken back: %v", err)
		}
	})
}

func first(labels []label, bad *Error) (label, *Error) {
	if bad != nil {
		return 0, bad
	}
	return labels[0], nil
}

// errOf keeps a nil *Error from becoming an error that is not nil.
func errOf(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}
