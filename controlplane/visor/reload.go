package visor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// live are the values of the configuration that can change while the visor runs.
func live(name string) bool {
	switch name {
	case "links", "rules", "forwards", "log_level":
		return true
	}
	section, _, _ := strings.Cut(name, ".")
	return section == "transport" || section == "routing" || section == "management"
}

// Reload implements api.Visor.
func (v *Visor) Reload(context.Context) (api.Reloaded, error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	next, sk, err := config.Load(v.opt.File)
	if err != nil {
		return api.Reloaded{}, api.ErrBadRequest.With("nothing has changed: %v", err)
	}
	r := api.Reloaded{Applied: []string{}, Restart: []string{}, Failed: []string{}}
	now := v.config()
	inForce := *clone(now)
	for _, name := range differences(now, &next) {
		if live(name) {
			r.Applied = append(r.Applied, name)
		} else {
			r.Restart = append(r.Restart, name)
		}
	}
	if sk != v.opt.SecretKey && !slices.Contains(r.Restart, "secret_key_file") {
		r.Restart = append(r.Restart, "secret_key_file (the key in it)")
	}
	inForce.Transport, inForce.Routing, inForce.Management = next.Transport, next.Routing, next.Management
	inForce.Links, inForce.Rules, inForce.Forwards, inForce.LogLevel = next.Links, next.Rules, next.Forwards, next.LogLevel
	r.Failed = append(r.Failed, v.resetPlane(now, &inForce)...)
	if err := v.enforce(&inForce); err != nil {
		r.Failed = append(r.Failed, err.Error())
	}
	v.log.Info().Strs("applied", r.Applied).Strs("restart", r.Restart).Strs("failed", r.Failed).Msg("configuration reloaded")
	return r, nil
}

// enforce makes c the configuration in force, as far as network and log are concerned.
func (v *Visor) enforce(c *config.Config) error {
	before := v.config()
	v.current.Store(c)
	n := v.network
	n.admits.Store(newAdmission(c))
	if v.opt.SetLevel != nil && before.LogLevel != c.LogLevel {
		v.opt.SetLevel(c.LogLevel)
	}
	if n.transports == nil {
		return nil
	}
	if !slices.Equal(before.Routing.SetupNodes, c.Routing.SetupNodes) {
		n.hop.SetNodes(n.trusted(v.pk, c.Routing.SetupNodes))
		for _, m := range n.members {
			m.setup.SetNodes(m.nodeAddrs(v.pk, c.Routing.SetupNodes))
		}
	}
	if before.Routing.PathFinder != c.Routing.PathFinder {
		n.router.SetMembers(n.routing(c.Routing.PathFinder))
	}
	if err := n.transports.Apply(settings(c)); err != nil {
		return fmt.Errorf("transport: %w", err)
	}
	if before.Transport.Accept != c.Transport.Accept {
		n.transports.NetworkChanged(checkWithin) // the address is told, or taken back
	}
	return nil
}

// checkWithin is how long links may take to give a sign of life when they are looked at.
const checkWithin = 2 * time.Second

// resetPlane takes away links, rules and forwards that the configuration does not list
// any more, and adds new ones. It returns what did not work.
func (v *Visor) resetPlane(old, next *config.Config) (failed []string) {
	fail := func(kind, name string, err error) {
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s %s: %v", kind, name, err))
		}
	}
	ctx := context.Background()
	gone, added := changes(old.Links, next.Links)
	for _, l := range gone {
		fail("link", l.PK.String(), found(v.RemoveLink(ctx, idOf(l), false)))
	}
	for _, l := range added {
		fail("link", l.PK.String(), fresh(v.AddLink(ctx, l, false)))
	}
	goneRules, newRules := changes(old.Rules, next.Rules)
	for _, r := range goneRules {
		fail("rule", r.In.String(), found(v.plane.RemoveRule(r.In)))
	}
	for _, r := range newRules {
		fail("rule", r.In.String(), fresh(v.plane.AddRule(r)))
	}
	goneForwards, newForwards := changes(old.Forwards, next.Forwards)
	for _, f := range goneForwards {
		fail("forward", f.ID(), found(v.RemoveForward(ctx, f.ID(), false)))
	}
	for _, f := range newForwards {
		_, err := v.AddForward(ctx, f, false)
		fail("forward", f.ID(), fresh(err))
	}
	return failed
}

// found and fresh are no errors where there was nothing to remove, or all is there.
func found(err error) error { return unless(err, api.ErrNotFound) }
func fresh(err error) error { return unless(err, api.ErrExists) }

func unless(err error, code *api.Error) error {
	if errors.Is(err, code) {
		return nil
	}
	return err
}

// changes returns what is only in one of two lists.
func changes[T any](old, next []T) (gone, added []T) {
	in := func(all []T, x T) bool {
		return slices.ContainsFunc(all, func(o T) bool { return reflect.DeepEqual(o, x) })
	}
	for _, x := range old {
		if !in(next, x) {
			gone = append(gone, x)
		}
	}
	for _, x := range next {
		if !in(old, x) {
			added = append(added, x)
		}
	}
	return gone, added
}

// differences names the values that differ, as the file has them: "log_level",
// "transport.auto". Sections that one of the two lacks are named as a whole.
func differences(a, b *config.Config) []string {
	var all []string
	compare("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), &all)
	return all
}

func compare(under string, a, b reflect.Value, all *[]string) {
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if under != "" {
			name = under + "." + name
		}
		x, y := a.Field(i), b.Field(i)
		switch {
		case reflect.DeepEqual(x.Interface(), y.Interface()):
		case x.Kind() == reflect.Struct && under == "":
			compare(name, x, y, all)
		case x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0: // none is none
		default:
			*all = append(*all, name)
		}
	}
}

// clone copies what edits change in place.
func clone(c *config.Config) *config.Config {
	n := *c
	n.Links, n.Rules, n.Forwards = slices.Clone(c.Links), slices.Clone(c.Rules), slices.Clone(c.Forwards)
	n.Transport.Persistent = slices.Clone(c.Transport.Persistent)
	return &n
}

// change has edit change the configuration that is in force, and with save the file
// too.
func (v *Visor) change(save bool, edit func(*config.Config)) error {
	v.saving.Lock()
	defer v.saving.Unlock()
	next := clone(v.config())
	edit(next)
	if err := v.enforce(next); err != nil {
		return api.ErrBadRequest.With("%v", err)
	}
	if !save {
		return nil
	}
	if err := config.Update(v.opt.File, edit); err != nil {
		return api.ErrInternal.With("done, but not saved: %v", err)
	}
	return nil
}

// Halt implements api.Visor.
func (v *Visor) Halt(context.Context) error {
	v.log.Info().Msg("asked to stop")
	v.halt()
	return nil
}

// SetLogLevel implements api.Visor.
func (v *Visor) SetLogLevel(_ context.Context, level string) error {
	if v.opt.SetLevel == nil {
		return api.ErrBadRequest.With("this visor's log has a fixed level")
	}
	v.opt.SetLevel(level)
	v.log.Info().Str("to", level).Msg("log level set")
	return nil
}
