//go:build unix

package visor

import (
	"syscall"
	"testing"

	"github.com/skyminer/skywire/controlplane/visor/config"
)

// TestHangup: SIGHUP has the visor read its configuration again.
func TestHangup(t *testing.T) {
	r := start(t, newFabric(), nil)
	defer reloadOnHangup(t.Context(), r.visor)()
	if err := config.Update(r.file, func(c *config.Config) { c.Routing.MaxHops = 9 }); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new value is in force", func() bool { return r.visor.config().Routing.MaxHops == 9 })
}
