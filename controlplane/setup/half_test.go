package setup_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/setup/setuptest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// half is the transport of a setup node that leaves out what it should ask of one visor,
// and says that all is well.
type half struct {
	http.RoundTripper
	without cipher.PubKey
	path    string
}

func (h half) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, h.without.String()) && req.URL.Path == h.path {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader([]byte("{}"))), Request: req}, nil
	}
	return h.RoundTripper.RoundTrip(req)
}

// TestHalfInstalled: a setup node says that a route is there and has made only a part of
// it. The source finds out because no session comes up; nothing of it is left when its
// time to live is over.
func TestHalfInstalled(t *testing.T) {
	n := setuptest.New(t, 4, nil)
	n.Chain(n.Visors...)
	a, d := n.Visors[0], n.Visors[3]
	evil := n.AddNode(func(rt http.RoundTripper) http.RoundTripper { return half{rt, n.Visors[2].PK, "/v1/install"} })
	for _, v := range n.Visors {
		v.Hop.SetNodes([]cipher.PubKey{n.Node, evil})
	}
	a.Client.SetNodes([]setup.NodeAddr{{PK: evil, Transport: a.HTTP}})
	route := a.Establish(t, setup.Request{Path: setuptest.Path(n.Visors[1:]...), Class: 3, TTL: time.Second}, nil)
	info, err := a.AddRoute(d, 3, route)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Sessions.DialClass(ctx, d.PK, 3); err == nil {
		t.Error("a session came up over a route that is not there")
	}
	if err := a.Sessions.RemoveRoute(info.ID); err != nil {
		t.Fatal(err)
	}
	setuptest.Eventually(t, "nothing is left", func() bool {
		left := 0
		for _, v := range n.Visors {
			for _, r := range v.Forward.Rules() {
				if r.Op != "direct" {
					left++
				}
			}
			for _, r := range v.Sessions.Routes() {
				if !r.Direct {
					left++
				}
			}
		}
		return left == 0
	})
}
