package foreign_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/internal/foreign"
)

// TestAmongThemselves sees that the second implementation works at all.
func TestAmongThemselves(t *testing.T) {
	disc := foreign.NewDiscovery()
	web := httptest.NewServer(disc)
	defer web.Close()
	relay := must(foreign.NewRelay())(t)
	defer relay.Close()
	if err := disc.Register(relay); err != nil {
		t.Fatal(err)
	}
	a, b := foreign.NewClient(&foreign.Directory{URL: web.URL}), foreign.NewClient(&foreign.Directory{URL: web.URL})
	defer a.Close()
	defer b.Close()
	for _, c := range []*foreign.Client{a, b} {
		if _, err := c.Connect(relay.PK, relay.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	accepted := b.Listen(80)
	out := must(a.Dial(b.PK, 80))(t)
	in := <-accepted
	defer in.Close()
	defer out.Close()
	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	go func() { _, _ = out.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("1 MiB came differently, %v", err)
	}
}
