package visor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// doctorTimeout bounds the whole look. Typing a NAT takes the longest.
const doctorTimeout = 12 * time.Second

// A finding is what one look returns: a check for each thing that it looked at.
type finding []api.Check

// Doctor implements api.Visor. Everything is looked at at once; the report is in the
// order in which one cause may explain what comes after it.
func (v *Visor) Doctor(ctx context.Context) (api.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	looks := []func(context.Context) finding{
		v.checkFiles, v.checkDeployments, v.checkServices, v.checkRelays, v.checkSetupNodes,
		v.checkKey, v.checkNAT, v.checkReach, v.checkTransports, v.checkMTU, v.checkPublic, v.checkOwnRelay,
	}
	found := make([]finding, len(looks))
	var wg sync.WaitGroup
	for i, look := range looks {
		wg.Go(func() { found[i] = look(ctx) })
	}
	wg.Wait()
	var r api.Report
	for _, f := range found {
		r.Checks = append(r.Checks, f...)
	}
	return r, nil
}

func ok(name, format string, args ...any) api.Check {
	return api.Check{Name: name, Verdict: api.CheckOK, Text: fmt.Sprintf(format, args...)}
}

func skip(name, format string, args ...any) api.Check {
	return api.Check{Name: name, Verdict: api.CheckSkip, Text: fmt.Sprintf(format, args...)}
}

// warn and fail make checks that say what to do.
func warn(name, advice, format string, args ...any) api.Check {
	return api.Check{Name: name, Verdict: api.CheckWarn, Text: fmt.Sprintf(format, args...), Advice: advice}
}

func fail(name, advice, format string, args ...any) api.Check {
	return api.Check{Name: name, Verdict: api.CheckFail, Text: fmt.Sprintf(format, args...), Advice: advice}
}

// enoughFiles is how many open files a visor with many streams does not run out of.
const enoughFiles = 4096

func (v *Visor) checkFiles(context.Context) finding {
	limit, known := fileLimit()
	switch {
	case !known:
		return finding{skip("open files", "this system does not say how many there may be")}
	case limit < enoughFiles:
		return finding{warn("open files", fmt.Sprintf("raise the limit to %d or more: \"ulimit -n\", or LimitNOFILE= in the systemd unit", enoughFiles), "at most %d; each forwarded connection takes one or two", limit)}
	}
	return finding{ok("open files", "at most %d", limit)}
}

func (v *Visor) checkDeployments(context.Context) finding {
	n := v.network
	if len(n.members) > 0 {
		return nil
	}
	return finding{skip("deployment", "none: links, rules and relays are what the configuration says (\"skyctl config gen --force --deployment URL\" joins one)")}
}

// Bounds of clocks that differ: set-up of routes refuses what is further off.
const (
	skewWarn = 5 * time.Second
	skewFail = time.Minute
)

// checkServices asks each service how it does, and compares the clocks.
func (v *Visor) checkServices(ctx context.Context) finding {
	if len(v.network.members) == 0 {
		return nil
	}
	healths, err := v.Health(ctx)
	if err != nil {
		return finding{fail("services", "", "%v", err)}
	}
	var f finding
	var most time.Duration
	for _, h := range healths {
		name := h.Service
		if len(v.network.members) > 1 {
			name = h.Deployment + ": " + name
		}
		if !h.OK {
			f = append(f, fail(name, "is the machine online, and is the deployment? Running routes and transports go on without it; when it is back, the visor registers again by itself", "%s: %s", h.URL, h.Error))
			continue
		}
		f = append(f, ok(name, "answers in %s", round(time.Duration(h.RTTMicros)*time.Microsecond)))
		if s := time.Duration(h.SkewMillis) * time.Millisecond; s.Abs() > most.Abs() {
			most = s
		}
	}
	return append(f, v.checkClock(most, len(f) > 0))
}

// checkClock judges the largest difference between the services' clocks and ours.
func (v *Visor) checkClock(most time.Duration, asked bool) api.Check {
	for _, m := range v.network.members {
		if s := m.caller.Skew(); s.Abs() > most.Abs() {
			most = s
		}
	}
	const advice = "set the clock, and keep it right with NTP (\"timedatectl set-ntp true\")"
	direction := "behind"
	if most < 0 {
		direction = "ahead"
	}
	switch {
	case !asked:
		return skip("clock", "no service to compare it with")
	case most.Abs() > skewFail:
		return fail("clock", advice, "this machine's is %v %s: signatures of now look old or not yet valid to others", round(most.Abs()), direction)
	case most.Abs() > skewWarn:
		return warn("clock", advice, "this machine's is %v %s", round(most.Abs()), direction)
	}
	return ok("clock", "right, as far as services tell")
}

// round leaves a duration the digits that people read.
func round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
