package transport

import (
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A neighbour that is started anew, at other addresses, is found again; and what it took
// out of the deployment when it ended is registered again by both.
func TestNeighbourRestarts(t *testing.T) {
	for _, tt := range []struct {
		typ string
		o   options
	}{{"stcpr", options{noUDP: true}}, {"sudph", options{noTCP: true}}} {
		t.Run(tt.typ, func(t *testing.T) {
			t.Parallel()
			n, s := newTestNetwork(t), newServices()
			id := deploymentKey()
			_, tt.o.sk = cipher.GenerateKeyPair()
			b := n.start(tt.o, in(id, s))
			a := n.start(options{}, in(id, s))
			if tt.typ == "stcpr" {
				eventually(t, "b is bound", func() bool { return s.isBound(b.pk) })
			}
			a.ensure(b.pk)
			registered := func() bool {
				return a.up(b.pk, tt.typ) && a.find(b.pk, tt.typ).Registered && len(s.listed()) == 1
			}
			eventually(t, "registered", registered)
			was := a.find(b.pk, tt.typ).Since
			b.stop()
			b = n.start(tt.o, in(id, s))
			eventually(t, "up and registered again", func() bool { return registered() && a.find(b.pk, tt.typ).Since.After(was) })
			eventually(t, "at the other end as well", func() bool { return b.find(a.pk, tt.typ).Registered })
		})
	}
}

// Visors that come up together find each other within a second or so: nothing waits for
// a fixed time.
func TestStartsQuickly(t *testing.T) {
	n, s := newTestNetwork(t), newServices()
	id := deploymentKey()
	public := n.start(options{change: func(c *Config) { c.Settings.Public = true }}, in(id, s))
	began := time.Now()
	a := n.start(options{noTCP: true, change: func(c *Config) { c.Settings.Auto = true }}, in(id, s))
	b := n.start(options{noTCP: true, change: func(c *Config) { c.Settings.Auto = true }}, in(id, s))
	eventually(t, "a has a transport to the public visor", func() bool { return a.up(public.pk, "stcpr") })
	t.Logf("first transport after %v", time.Since(began))
	eventually(t, "a and b, both its neighbours, have a transport", func() bool { return a.up(b.pk, "sudph") && b.up(a.pk, "sudph") })
	if i := a.find(public.pk, "stcpr"); !i.Auto || i.Label != LabelAutomatic {
		t.Errorf("%+v", i)
	}
	eventually(t, "all three are listed", func() bool { return len(s.listed()) == 3 })
}
