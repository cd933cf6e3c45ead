package addressresolver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/mirror"
	"github.com/skyminer/skywire/controlplane/store"
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
//	POST, DELETE /bind/stcpr         signed
//	GET /resolve/stcpr/{pk}          signed
//	GET /transports
//	GET /security/nonces/{pk}        for deployed visors
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
	switch {
	case path == "/transports" && method(http.MethodGet):
		return c.transports()
	case path == "/bind/stcpr" && method(http.MethodPost):
		return c.bind()
	case path == "/bind/stcpr" && method(http.MethodDelete):
		return c.unbind()
	case strings.HasPrefix(path, "/resolve/") && method(http.MethodGet):
		return c.resolve(path[len("/resolve/"):])
	case strings.HasPrefix(path, "/security/nonces/") && method(http.MethodGet):
		c.s.o.Verifier.ServeNonce(c.RequestCtx, path[len("/security/nonces/"):])
		return nil
	}
	return deployment.ErrNotFound.With("no such path")
}

// bind answers POST /bind/stcpr.
func (c *call) bind() error {
	pk, _, err := c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK)
	if err != nil {
		return err
	}
	if !c.caller.Addr.IsValid() {
		return deployment.ErrBadRequest.With("over dmsg your address is not seen here; bind over http, or do without STCPR")
	}
	bound, err := c.s.bind(context.Background(), pk, c.caller.Addr, c.PostBody())
	if err != nil {
		return err
	}
	httpd.JSON(c.RequestCtx, http.StatusOK, bound)
	return nil
}

// unbind answers DELETE /bind/stcpr.
func (c *call) unbind() error {
	pk, _, err := c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK)
	if err != nil {
		return err
	}
	err = c.s.records.Delete(context.Background(), pk.String(), store.Always())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	httpd.Raw(c.RequestCtx, http.StatusOK, []byte("{}"))
	return nil
}

// resolve answers GET /resolve/{type}/{pk}. Who asks must say who it is, so that
// walking through all addresses leaves a trace and meets a limit.
func (c *call) resolve(rest string) error {
	typ, text, _ := strings.Cut(rest, "/")
	if typ != deployment.TypeSTCPR {
		return deployment.ErrNotFound.With("addresses are kept for stcpr only; sudph finds its own over dmsg")
	}
	pk, err := cipher.ParsePubKeyText(text)
	if err != nil {
		return deployment.ErrBadRequest.With("the path does not end in a public key")
	}
	if _, _, err := c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK); err != nil {
		return err
	}
	e, ok := c.s.records.Get(pk.String())
	if !ok {
		return deployment.ErrNotFound.With("this visor is not bound here")
	}
	reply, ok := e.Value.reply(c.caller.Addr)
	if !ok {
		return deployment.ErrNotFound.With("this visor cannot be reached by TCP: " + e.Value.Why)
	}
	httpd.JSON(c.RequestCtx, http.StatusOK, reply)
	return nil
}

// A keyList is the answer of /transports, until records change.
type keyList struct {
	mu      sync.Mutex
	changes uint64
	next    time.Time   // it is not made anew before; see httpd.Again
	body    *httpd.Body // nil: not made yet
}

// transports answers GET /transports: who can be reached by TCP.
func (c *call) transports() error {
	l := &c.s.bound
	l.mu.Lock()
	at := c.s.o.Now()
	if changes := c.s.records.Changes(); l.body == nil || l.changes != changes && !at.Before(l.next) {
		l.changes = changes
		out := deployment.BoundKeys{STCPR: []cipher.PubKey{}, SUDPH: []cipher.PubKey{}}
		for _, e := range c.s.records.All(func(e *mirror.Entry[*record]) bool { return e.Value.Reach != unreachable }) {
			if pk, err := cipher.ParsePubKeyText(e.Key); err == nil {
				out.STCPR = append(out.STCPR, pk)
			}
		}
		slices.SortFunc(out.STCPR, cipher.PubKey.Compare)
		b, err := json.Marshal(out)
		if err != nil {
			l.mu.Unlock()
			return err
		}
		l.body, l.next = httpd.NewBody(b), httpd.Again(at, c.s.o.Now())
	}
	body := l.body
	l.mu.Unlock()
	body.Send(c.RequestCtx)
	return nil
}
