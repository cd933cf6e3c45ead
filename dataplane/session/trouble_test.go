package session

import (
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// TestTrouble: when the far end's rule had vanished, all that was said was that there
// was no answer.
func TestTrouble(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	a.dial(c)
	eventually(t, "nothing is wrong", func() bool { return a.m.Trouble(c.pk) == "" })
	for _, r := range c.m.Routes() {
		if !r.Direct {
			if err := c.m.RemoveRoute(r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	says := func(what ...string) {
		t.Helper()
		var got string
		defer func() {
			if t.Failed() {
				t.Logf("it says: %s", got)
			}
		}()
		eventually(t, strings.Join(what, " … "), func() bool {
			got = a.m.Trouble(c.pk)
			for _, w := range what {
				if !strings.Contains(got, w) {
					return false
				}
			}
			return true
		})
	}
	says("no reply to ", " probes for ", "through "+b.pk.String(), "no rule for this label")
	if err := a.links.RemoveLink(b.pk, link.SUDPH); err != nil {
		t.Fatal(err)
	}
	says("there is no link to the first hop " + b.pk.String())
	nobody, _ := cipher.GenerateKeyPair()
	if got := a.m.Trouble(nobody); got != "there is no route" {
		t.Errorf("to nobody: %q", got)
	}
}
