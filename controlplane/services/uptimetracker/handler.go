package uptimetracker

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Bounds of what callers say.
const (
	maxVersion  = 64 // characters
	maxInstance = 64
	maxVisors   = 512 // in one query
)

// A call is one request. What it asks of the store does not end with the caller's
// connection: the store has its own time-outs.
type call struct {
	*fasthttp.RequestCtx
	s      *Service
	caller httpd.Caller
}

// Handler implements httpd.Service:
//
//	GET, POST /v4/update?version=&instance=&started=    signed
//	GET /uptimes?v=&visors=&status=&startDate=&endDate=
//	GET /uptime/{pk}
//	GET /visors                                         positions, for a map
//	GET /security/nonces/{pk}                           for deployed visors
func (s *Service) Handler(over httpd.Over) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		c := call{rc, s, httpd.CallerOf(rc, over)}
		if err := c.route(); err != nil {
			httpd.Fail(rc, err, s.o.Log)
		}
	}
}

func (c *call) route() error {
	path := string(c.Path())
	asks := c.IsGet() || c.IsHead()
	switch {
	case path == "/v4/update" && (c.IsGet() || c.IsPost()):
		return c.update()
	case path == "/update", path == "/v2/update", path == "/v3/update":
		return &deployment.Error{Status: http.StatusGone, Code: "gone", Text: "this form of the update is gone; use /v4/update"}
	case path == "/uptimes" && asks:
		return c.placed(c.uptimes)
	case strings.HasPrefix(path, "/uptime/") && asks:
		return c.placed(func() error { return c.uptime(path[len("/uptime/"):]) })
	case path == "/visors" && asks:
		return c.placed(c.visors)
	case strings.HasPrefix(path, "/security/nonces/") && asks:
		c.s.o.Verifier.ServeNonce(c.RequestCtx, path[len("/security/nonces/"):])
		return nil
	}
	return deployment.ErrNotFound.With("no such path")
}

// placed runs f, which makes a list, in one of the places for that.
func (c *call) placed(f func() error) error {
	if err := c.s.enter(); err != nil {
		return err
	}
	defer func() { <-c.s.places }()
	return f()
}

func (c *call) arg(name string) string { return string(c.QueryArgs().Peek(name)) }

// update answers /v4/update.
func (c *call) update() error {
	pk, _, err := c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK)
	if err != nil {
		return err
	}
	version, in := c.arg("version"), deployment.Instance{ID: c.arg("instance")}
	if len(version) > maxVersion || len(in.ID) > maxInstance {
		return deployment.ErrBadRequest.With("version or instance is too long")
	}
	if text := c.arg("started"); text != "" {
		if in.Started, err = strconv.ParseInt(text, 10, 64); err != nil {
			return deployment.ErrBadRequest.With("started is no time in Unix milliseconds")
		}
	}
	if err := c.s.update(context.Background(), pk, c.caller, in, strings.ToValidUTF8(version, "")); err != nil {
		return err
	}
	httpd.Raw(c.RequestCtx, http.StatusOK, []byte("{}"))
	return nil
}

// query reads the arguments of /uptimes.
func (c *call) query() (q query, err error) {
	now := monthOf(c.s.o.Now())
	q = query{status: c.arg("status"), daily: c.arg("v") == "v2", start: now, end: now}
	if q.status != "" && q.status != "on" && q.status != "off" {
		return q, deployment.ErrBadRequest.With("status is neither on nor off")
	}
	if list := c.arg("visors"); list != "" {
		q.visors = make(map[cipher.PubKey]bool)
		for text := range strings.SplitSeq(list, ",") {
			pk, err := cipher.ParsePubKeyText(strings.TrimSpace(text))
			if err != nil {
				return q, deployment.ErrBadRequest.With(fmt.Sprintf("%.70q among visors is no public key", text))
			}
			if q.visors[pk] = true; len(q.visors) > maxVisors {
				return q, deployment.ErrBadRequest.With(fmt.Sprintf("more than %d visors; leave the filter out", maxVisors))
			}
		}
	}
	for name, to := range map[string]*month{"startDate": &q.start, "endDate": &q.end} {
		text := c.arg(name)
		if text == "" {
			continue
		}
		t, err := time.Parse(monthForm, text[:min(len(text), len(monthForm))])
		if err != nil {
			return q, deployment.ErrBadRequest.With(name + " is no month like " + now.String())
		}
		*to, q.ranged = monthOf(t), true
	}
	if q.end.After(now.Time) {
		q.end = now
	}
	if q.start.After(q.end.Time) || q.start.AddDate(0, maxMonths, 0).Before(q.end.Time) {
		return q, deployment.ErrBadRequest.With(fmt.Sprintf("startDate to endDate are not 1 to %d months", maxMonths))
	}
	return q, nil
}

// uptimes answers GET /uptimes.
func (c *call) uptimes() error {
	q, err := c.query()
	if err != nil {
		return err
	}
	list, err := c.s.uptimes(context.Background(), q)
	if err != nil {
		return err
	}
	httpd.Send(c.RequestCtx, list)
	return nil
}

// uptime answers GET /uptime/{pk}.
func (c *call) uptime(text string) error {
	pk, err := cipher.ParsePubKeyText(text)
	if err != nil {
		return deployment.ErrBadRequest.With("the path does not end in a public key")
	}
	now := monthOf(c.s.o.Now())
	list, err := c.s.uptimes(context.Background(), query{visors: map[cipher.PubKey]bool{pk: true}, daily: true, start: now, end: now})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return deployment.ErrNotFound.With("nothing is known of this visor")
	}
	httpd.Send(c.RequestCtx, list[0])
	return nil
}

// A position is where visors are on the map.
type position struct {
	Lat   float64 `json:"lat"` // degrees, to a tenth: some 10 km
	Lon   float64 `json:"lon"`
	Count int     `json:"count"`
}

// visors answers GET /visors: how many visors are up where, none of them by name.
func (c *call) visors() error {
	now := c.s.o.Now()
	records, err := c.s.load(context.Background(), monthOf(now))
	if err != nil {
		return err
	}
	tenth := func(f float64) float64 { return math.Round(f*10) / 10 }
	index := map[[2]float64]int{}
	out := []position{}
	for _, r := range records {
		if r.Geo == nil || !r.isOn(now) {
			continue
		}
		at := [2]float64{tenth(r.Geo.Lat), tenth(r.Geo.Lon)}
		i, ok := index[at]
		if !ok {
			i = len(out)
			index[at], out = i, append(out, position{Lat: at[0], Lon: at[1]})
		}
		out[i].Count++
	}
	httpd.Send(c.RequestCtx, out)
	return nil
}
