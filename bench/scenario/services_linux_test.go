package scenario

import (
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// TestCrowd: where the first of the visors had chosen the last one, the last one looked for
// its first transport for ever.
func TestCrowd(t *testing.T) {
	for range 30 {
		c, err := newCrowd(deployment.Conf{}, 20)
		if err != nil {
			t.Fatal(err)
		}
		ends := 0
		for _, v := range c.visors {
			ends += len(v.transports)
		}
		if want := 2 * 20 * servicesDegree; ends != want {
			t.Fatalf("%d ends of transports, want %d", ends, want)
		}
	}
	for n := 1; n <= 2*servicesDegree; n++ { // at most n(n-1)/2 transports, and n*servicesDegree are wanted
		if _, err := newCrowd(deployment.Conf{}, n); err == nil || !strings.Contains(err.Error(), "too few") {
			t.Errorf("%d visors: %v", n, err)
		}
	}
}
