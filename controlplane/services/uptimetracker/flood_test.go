package uptimetracker

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
)

// Keys cost nothing, and records are kept for years: one source cannot bring any number
// of them, nor can all of them together; those that are there are served all the same.
func TestFloodOfKeys(t *testing.T) {
	for _, tt := range []struct {
		name          string
		visors, burst int
		want          error
		wantAfter     int // records
	}{
		{"one source", 1000, 5, deployment.ErrRate, 5},
		{"all sources", 3, 1000, deployment.ErrUnavailable, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
			st := servicetest.Open(t, "", clock.Now)
			r := servicetest.Run(t, st, func(st store.Store, v *httpauth.Verifier) (httpd.Service, error) {
				o := DefaultOptions()
				o.Verifier, o.Now, o.Fresh, o.KeyRate = v, clock.Now, time.Minute, 0
				o.MaxVisors, o.NewBurst = tt.visors, tt.burst
				return New(st, o)
			})
			var first servicetest.Caller
			var err error
			for i := range 8 {
				c := servicetest.NewCaller(t)
				if i == 0 {
					first = c
				}
				if err = deployment.NewUptimeTracker(r.URL, c.Caller).Update(t.Context(), instance, "v1"); err != nil {
					break
				}
			}
			if !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			count := func() (n int) {
				for _, err := range store.All(t.Context(), st, Prefix) {
					if err != nil {
						t.Fatal(err)
					}
					n++
				}
				return n
			}
			if n := count(); n != tt.wantAfter {
				t.Errorf("%d records, want %d", n, tt.wantAfter)
			}
			clock.Add(5 * time.Minute)
			if err := deployment.NewUptimeTracker(r.URL, first.Caller).Update(t.Context(), instance, "v1"); err != nil {
				t.Errorf("one that is there: %v", err)
			}
			clock.Add(brief + time.Minute)
			if n := count(); n != 0 {
				t.Errorf("%d records of visors that were up for minutes are left after %v", n, brief)
			}
		})
	}
}

// What was up for an hour is remembered for long.
func TestKeep(t *testing.T) {
	clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
	r := start(t, servicetest.Open(t, "", clock.Now), clock)
	c := servicetest.NewCaller(t)
	ut := deployment.NewUptimeTracker(r.URL, c.Caller)
	for range enough {
		if err := ut.Update(t.Context(), instance, "v1"); err != nil {
			t.Fatal(err)
		}
		clock.Add(slot)
	}
	clock.Add(brief + time.Hour)
	if list, err := ut.Uptimes(t.Context(), deployment.UptimeQuery{}); err != nil || len(list) != 1 || list[0].Up != 3600 {
		t.Errorf("%+v, %v", list, err)
	}
}

// Lists are made in a few places; who finds none is told to come again, not kept.
func TestPlaces(t *testing.T) {
	clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
	var s *Service
	r := servicetest.Run(t, servicetest.Open(t, "", clock.Now), func(st store.Store, v *httpauth.Verifier) (_ httpd.Service, err error) {
		o := DefaultOptions()
		o.Verifier, o.Now = v, clock.Now
		s, err = New(st, o)
		return s, err
	})
	for range cap(s.places) {
		s.places <- struct{}{}
	}
	if status, _, body := r.Do(t, "GET", "/uptimes", ""); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
	<-s.places
	if status, _, body := r.Do(t, "GET", "/uptimes", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}
