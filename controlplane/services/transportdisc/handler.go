package transportdisc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/seat"
	"github.com/skyminer/skywire/dataplane/cipher"
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
//	POST /transports/                      register; signed
//	POST /transports/heartbeat             signed
//	GET /transports/id:{uuid}, /transports/edge:{pk}, /all-transports
//	DELETE /transports/id:{uuid}           signed by an edge
//	DELETE /transports/deregister          signed by a monitor
//	GET /statistics, /statistics/id:{uuid}, /statistics/edge:{pk}
//	GET /security/nonces/{pk}              for deployed visors
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
	method := func(m string) bool { return string(c.Method()) == m || m == http.MethodGet && c.IsHead() }
	if rest, ok := strings.CutPrefix(path, "/security/nonces/"); ok && method(http.MethodGet) {
		c.s.o.Verifier.ServeNonce(c.RequestCtx, rest)
		return nil
	}
	switch {
	case path == "/all-transports" && method(http.MethodGet):
		c.s.all.get(c.s.index, c.s.o.Now).Send(c.RequestCtx)
		return nil
	case (path == "/transports/" || path == "/transports") && method(http.MethodPost):
		return c.register()
	case path == "/transports/heartbeat" && method(http.MethodPost):
		return c.heartbeat()
	case path == "/transports/deregister" && method(http.MethodDelete):
		return c.deregister()
	case path == "/statistics" && method(http.MethodGet):
		return c.answer(c.s.index.Totals())
	case path == "/statuses":
		return &deployment.Error{Status: http.StatusGone, Code: deployment.CodeNotFound, Text: "this API has ended; see POST /transports/heartbeat"}
	}
	section, what, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	kind, text, _ := strings.Cut(what, ":")
	known := section == "transports" || section == "statistics"
	switch {
	case known && kind == "id":
		var id deployment.TransportID
		if err := id.UnmarshalText([]byte(text)); err != nil {
			return deployment.ErrBadRequest.With("the path does not end in the id of a transport")
		}
		switch {
		case section == "transports" && method(http.MethodDelete):
			return c.remove(id)
		case method(http.MethodGet):
			return c.byID(section, id)
		}
	case known && kind == "edge" && method(http.MethodGet):
		pk, err := cipher.ParsePubKeyText(text)
		if err != nil {
			return deployment.ErrBadRequest.With("the path does not end in a public key")
		}
		return c.byEdge(section, pk)
	}
	return deployment.ErrNotFound.With("no such path")
}

// answer answers with v.
func (c *call) answer(v any) error {
	httpd.JSON(c.RequestCtx, http.StatusOK, v)
	return nil
}

// errNone is the answer where nothing is listed.
var errNone = deployment.ErrNotFound.With("no such transport")

func (c *call) byID(section string, id deployment.TransportID) error {
	if section == "statistics" {
		if m, ok := c.s.index.Measured(id); ok {
			return c.answer(m)
		}
		return errNone
	}
	if t, ok := c.s.index.Transport(id); ok {
		return c.answer(t)
	}
	return errNone
}

func (c *call) byEdge(section string, pk cipher.PubKey) error {
	if section == "statistics" {
		if list := c.s.index.MeasuredBy(pk); len(list) > 0 {
			return c.answer(list)
		}
		return errNone
	}
	if list := c.s.index.Edge(pk); len(list) > 0 {
		return c.answer(list)
	}
	return errNone
}

// place returns where the caller is.
func (c *call) place() place { return place{c.caller.Source(), seat.Class(c.caller.Addr)} }

// verify returns the key of the caller, which may write at the moment.
func (c *call) verify() (pk cipher.PubKey, legacy bool, err error) {
	if pk, legacy, err = c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK); err != nil {
		return pk, legacy, err
	}
	if !c.s.keys.Allow(httpd.Source(pk), c.s.o.Now()) {
		return pk, legacy, deployment.ErrRate
	}
	return pk, legacy, nil
}

// decode reads a body.
func (c *call) decode(v any, want string) error {
	if err := json.Unmarshal(c.PostBody(), v); err != nil {
		return deployment.ErrBadRequest.With("the body is no " + want)
	}
	return nil
}

// instance says whether a body names its author's instance as it must be.
func instance(in deployment.Instance) error {
	if in.ID == "" || len(in.ID) > 32 {
		return deployment.ErrBadRequest.With("the body has no instance of 1 to 32 characters")
	}
	return nil
}

// register answers POST /transports/.
func (c *call) register() error {
	pk, legacy, err := c.verify()
	if err != nil {
		return err
	}
	if legacy && bytes.HasPrefix(bytes.TrimSpace(c.PostBody()), []byte("[")) {
		entries, err := deployment.ParseTransports(c.PostBody())
		if err != nil {
			return deployment.ErrBadRequest.With("the body is no array of signed transports")
		}
		if len(entries) > deployment.MaxRegister {
			return deployment.ErrBadRequest.With(fmt.Sprintf("%d transports at once; want up to %d", len(entries), deployment.MaxRegister))
		}
		taken, err := c.s.registerOld(context.Background(), pk, c.place(), entries)
		if err != nil {
			return err
		}
		httpd.JSON(c.RequestCtx, http.StatusCreated, taken)
		return nil
	}
	var rq deployment.RegisterRequest
	if err := c.decode(&rq, `{"instance": "…", "started": …, "entries": […]}`); err != nil {
		return err
	}
	if err := instance(rq.Instance); err != nil {
		return err
	}
	if len(rq.Entries) > deployment.MaxRegister {
		return deployment.ErrBadRequest.With(fmt.Sprintf("%d transports at once; want up to %d", len(rq.Entries), deployment.MaxRegister))
	}
	reply, err := c.s.register(context.Background(), pk, c.place(), rq)
	if err != nil {
		return err
	}
	httpd.JSON(c.RequestCtx, http.StatusCreated, reply)
	return nil
}

// heartbeat answers POST /transports/heartbeat.
func (c *call) heartbeat() error {
	pk, _, err := c.verify()
	if err != nil {
		return err
	}
	var rq deployment.HeartbeatRequest
	if err := c.decode(&rq, `{"instance": "…", "started": …, "stats": […]}`); err != nil {
		return err
	}
	if err := instance(rq.Instance); err != nil {
		return err
	}
	if len(rq.Stats) > deployment.MaxHeartbeat {
		return deployment.ErrBadRequest.With(fmt.Sprintf("%d stats at once; want up to %d", len(rq.Stats), deployment.MaxHeartbeat))
	}
	reply, err := c.s.heartbeat(context.Background(), pk, c.place(), rq)
	if err != nil {
		return err
	}
	return c.answer(reply)
}

// remove answers DELETE /transports/id:{uuid}.
func (c *call) remove(id deployment.TransportID) error {
	pk, _, err := c.verify()
	if err != nil {
		return err
	}
	t, _, ok := c.s.index.edges(id)
	if !ok {
		return errNone
	}
	if side(&t, pk) < 0 {
		return deployment.ErrForbidden.With("you are no edge of this transport")
	}
	if err := c.s.remove(context.Background(), id); err != nil {
		return err
	}
	return c.answer("transport deleted")
}

// deregister answers DELETE /transports/deregister. Deployed monitors show the same
// constant signature with each request, which anybody who has seen it can use: here a
// monitor signs its request, or comes over dmsg.
func (c *call) deregister() error {
	pk, err := c.s.o.Verifier.Verify(c.RequestCtx, c.caller.PK)
	if err != nil {
		return err
	}
	if !c.s.monitors[pk] {
		return deployment.ErrForbidden.With("you are no monitor of this deployment")
	}
	var ids []deployment.TransportID
	if err := c.decode(&ids, "array of ids"); err != nil {
		return err
	}
	gone := 0
	for _, id := range ids {
		switch err := c.s.remove(context.Background(), id); {
		case err == nil:
			gone++
		case !errors.Is(err, deployment.ErrNotFound):
			return err
		}
	}
	c.s.o.Log.Info().Stringer("monitor", pk).Int("transports", gone).Msg("transports deregistered")
	return c.answer(map[string]int{"deregistered": gone})
}
