package visor

import (
	"errors"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestDifferences: values are named as the file names them.
func TestDifferences(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	tests := map[string]struct {
		edit func(*config.Config)
		want []string
	}{
		"none":             {func(*config.Config) {}, nil},
		"none by null":     {func(c *config.Config) { c.Links = nil }, nil},
		"in a section":     {func(c *config.Config) { c.Transport.Auto = false; c.Transport.Public = true }, []string{"transport.auto", "transport.public"}},
		"a section itself": {func(c *config.Config) { c.Dmsg = &config.Dmsg{} }, []string{"dmsg"}},
		"lists":            {func(c *config.Config) { c.Policy.Allow = []cipher.PubKey{pk}; c.Workers = 3 }, []string{"workers", "policy.allow"}},
	}
	for name, tt := range tests {
		a, b := config.Default(), config.Default()
		tt.edit(&b)
		if got := differences(&a, &b); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestReload: what can change while the visor runs does, the rest is named, and what does
// not work is told.
func TestReload(t *testing.T) {
	r := start(t, newFabric(), nil)
	pk, _ := cipher.GenerateKeyPair()
	local := freeAddr(t)
	busy := takenAddr(t)
	edit := func(f func(*config.Config)) {
		t.Helper()
		if err := config.Update(r.file, f); err != nil {
			t.Fatal(err)
		}
	}
	edit(func(c *config.Config) {
		c.Links = []api.LinkSpec{{PK: pk, Type: api.SUDPH, Addr: "127.0.0.1:9"}}
		c.Forwards = []api.ForwardSpec{{Reach: api.Peer(pk, 80), Local: local}, {Reach: api.Peer(pk, 80), Local: busy}}
		c.Management.Allow = []cipher.PubKey{pk}
		c.LogLevel, c.Workers = "warn", 7
	})
	got, err := r.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"links", "forwards", "management.allow", "log_level"}; !sameNames(got.Applied, want) {
		t.Errorf("applied %q, want %q", got.Applied, want)
	}
	if want := []string{"workers"}; !reflect.DeepEqual(got.Restart, want) {
		t.Errorf("after a restart %q, want %q", got.Restart, want)
	}
	if len(got.Failed) != 1 || !strings.Contains(got.Failed[0], "forward tcp:"+busy) {
		t.Errorf("failed: %q, want the port that is in use", got.Failed)
	}
	if links, _ := r.Links(t.Context()); len(links) != 1 || links[0].PK != pk {
		t.Errorf("links: %+v", links)
	}
	if fs, _ := r.Forwards(t.Context()); len(fs) != 1 || fs[0].Local != local {
		t.Errorf("forwards: %+v", fs)
	}
	if !r.visor.network.admits.Load().manage[pk] || r.visor.config().LogLevel != "warn" || r.visor.config().Workers == 7 {
		t.Errorf("in force: %+v", r.visor.config())
	}

	edit(func(c *config.Config) { c.Links, c.Forwards = []api.LinkSpec{}, []api.ForwardSpec{} })
	if got, err = r.Reload(t.Context()); err != nil || len(got.Failed) != 0 || len(got.Applied) != 2 {
		t.Errorf("taken away: %+v, %v", got, err)
	}
	if links, _ := r.Links(t.Context()); len(links) != 0 {
		t.Errorf("links: %+v", links)
	}
	if got, err = r.Reload(t.Context()); err != nil || len(got.Applied) != 0 || len(got.Restart) != 1 {
		t.Errorf("once more: %+v, %v; want only what waits for a restart", got, err)
	}

	// A mistake changes nothing.
	b, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file, append(b, '}'), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(t.Context()); !errors.Is(err, api.ErrBadRequest) || !strings.Contains(err.Error(), "nothing has changed") {
		t.Errorf("a broken file: %v", err)
	}
}

// takenAddr returns a loopback address at which somebody listens until the test ends.
func takenAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func sameNames(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
