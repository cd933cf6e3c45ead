//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// TestServicesGone: everything that is no visor is killed for two minutes, relay and
// discovery and all, and comes back without its memory. Routes and streams over them go
// on, and afterwards the deployment is told everything anew, by visors that were not
// restarted. It is the longest of the tests that run side by side, and the first to start
// among them, for its file is.
//
//	a ── b ── c ── d
func TestServicesGone(t *testing.T) {
	const outage = 2 * time.Minute
	w := newWorld(t, outage+2*time.Minute, false)
	dep := w.deploy("services")
	all := w.joinAll(dep, "a", "b", "c", "d")
	a, b, c, d := all[0], all[1], all[2], all[3]
	a.meet(api.SUDPH, b)
	b.meet(api.SUDPH, c)
	d.meet(api.STCPR, c)
	s := d.serve()
	d.expose(s, 80, "--allow", a.PK.String())
	local := a.reach(d, 80, "--min-hops", "3")
	x := a.send(local, endless)
	more := func(what string) {
		t.Helper()
		before := s.received.Load()
		w.eventually(10*time.Second, what, func() bool { return s.received.Load() > before+1<<20 })
	}
	more("nothing arrives")
	if err := dep.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := forget(dep.Dir); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(outage); time.Now().Before(end); time.Sleep(time.Second) { // as long as they are away
		more("the stream stands still without the services")
	}
	if err := <-a.send(local, 1<<20).done; err != nil {
		t.Errorf("a new stream over the old route: %v", err)
	}
	if err := dep.Restart(w.ctx); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	w.eventually(80*time.Second, "not all transports are registered again", func() bool {
		list, err := a.Registered(w.ctx, api.ServiceQuery{})
		return err == nil && len(list) == 3
	})
	t.Logf("all transports registered %v after the services came back", time.Since(start).Round(time.Millisecond))
	w.online(all...)
	more("the stream stands still with the services")
	if err := x.finish(); err != nil {
		t.Error(err)
	}
	d.expose(d.serve(), 81, "--allow", b.PK.String())
	again := b.reach(d, 81, "--min-hops", "2")
	w.eventually(30*time.Second, "there is no new route", func() bool { // whoever sets it up may still be looking for its relay
		return <-b.send(again, 1<<20).done == nil
	})
}

// forget removes what a deployment has stored, except its keys.
func forget(dir string) error {
	stores, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err == nil && len(stores) == 0 {
		err = fmt.Errorf("there is no store in %s", dir)
	}
	for _, f := range stores {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}
