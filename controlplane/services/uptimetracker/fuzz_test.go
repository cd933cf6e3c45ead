package uptimetracker

import (
	"errors"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
)

// FuzzQuery: whatever is asked for, it is bounded.
func FuzzQuery(f *testing.F) {
	f.Add("v=v2&visors=&status=on&startDate=2025-12&endDate=2026-01")
	f.Add("startDate=0000-01&endDate=9999-12")
	f.Add("visors=,")
	clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
	s := &Service{o: Options{Now: clock.Now}}
	f.Fuzz(func(t *testing.T, args string) {
		var rc fasthttp.RequestCtx
		var rq fasthttp.Request
		rq.SetRequestURI("/uptimes")
		rq.URI().SetQueryString(args)
		rc.Init(&rq, nil, nil)
		c := call{RequestCtx: &rc, s: s}
		q, err := c.query()
		if err != nil {
			if !errors.Is(err, deployment.ErrBadRequest) {
				t.Fatal(err)
			}
			return
		}
		n := 0
		for m := q.start; !m.After(q.end.Time); m = m.next() {
			n++
		}
		if n < 1 || n > maxMonths+1 || len(q.visors) > maxVisors {
			t.Fatalf("%d months, %d visors", n, len(q.visors))
		}
	})
}
