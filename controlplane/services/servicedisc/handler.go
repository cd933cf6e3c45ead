package servicedisc

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/mirror"
	"github.com/skyminer/skywire/controlplane/store"
)

const base = "/api/services"

// A call is one request. What it asks of the store does not end with the caller's
// connection: the store has its own time-outs.
type call struct {
	*fasthttp.RequestCtx
	s      *Service
	caller httpd.Caller
}

// Handler implements httpd.Service:
//
//	GET    /api/services?type=&version=&country=&quantity=
//	GET    /api/services/{addr}?type=
//	POST   /api/services                      signed
//	DELETE /api/services/{addr}?type=         signed
//	GET    /security/nonces/{pk}              for deployed visors
//
// Web pages of any origin may read.
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
	if pk, ok := strings.CutPrefix(path, "/security/nonces/"); ok && c.IsGet() {
		c.s.o.Verifier.ServeNonce(c.RequestCtx, pk)
		return nil
	}
	rest, ok := strings.CutPrefix(path, base)
	addr := strings.TrimPrefix(rest, "/")
	if !ok || rest != "" && rest[0] != '/' {
		return deployment.ErrNotFound.With("no such path")
	}
	switch {
	case c.IsOptions():
		c.cors()
		c.Response.Header.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		c.SetStatusCode(http.StatusNoContent)
		return nil
	case c.IsGet() || c.IsHead():
		c.cors()
		if addr == "" {
			return c.list()
		}
		return c.one(addr)
	case c.IsPost() && addr == "":
		return c.register()
	case c.IsDelete() && addr != "":
		return c.remove(addr)
	}
	return deployment.ErrMethod
}

func (c *call) cors() { c.Response.Header.Set("Access-Control-Allow-Origin", "*") }

func (c *call) arg(name string) string { return string(c.QueryArgs().Peek(name)) }

// typ returns the argument type.
func (c *call) typ() (string, error) {
	t := c.arg("type")
	if !isType(t) {
		return "", deployment.ErrBadRequest.With("say which type of service, as in ?type=vpn")
	}
	return t, nil
}

// A list is all services of a type, until records change.
type list struct {
	changes uint64
	made    time.Time
	next    time.Time // it is not made anew before; see httpd.Again
	found   []*deployment.Service
	body    *httpd.Body
}

// expiry is how long a list may hold what has expired, which is no change at once.
const expiry = time.Second

// maxLists bounds the lists that are kept; types are strangers' words.
const maxLists = 64

// list answers GET /api/services.
func (c *call) list() error {
	typ, err := c.typ()
	if err != nil {
		return err
	}
	version, country, quantity := c.arg("version"), c.arg("country"), 0
	if q := c.arg("quantity"); q != "" {
		if quantity, err = strconv.Atoi(q); err != nil || quantity < 0 {
			return deployment.ErrBadRequest.With("quantity is no number")
		}
	}
	l, err := c.s.list(typ)
	if err != nil {
		return err
	}
	if version == "" && country == "" && quantity == 0 {
		l.body.Send(c.RequestCtx)
		return nil
	}
	found := []*deployment.Service{}
	for _, v := range l.found {
		if (version == "" || v.Version == version) && (country == "" || v.Geo != nil && strings.EqualFold(v.Geo.Country, country)) {
			found = append(found, v)
		}
	}
	if quantity > 0 && quantity < len(found) {
		// Not always the same ones, or these would carry everybody.
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		found = found[:quantity]
	}
	httpd.JSON(c.RequestCtx, http.StatusOK, found)
	return nil
}

// list returns the services of a type.
func (s *Service) list(typ string) (list, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, changes := s.o.Now(), s.records.Changes()
	l, ok := s.lists[typ]
	if ok && (l.changes == changes && at.Sub(l.made) < expiry || at.Before(l.next)) {
		return l, nil
	}
	l = list{changes: changes, made: at, found: s.find(typ)}
	b, err := json.Marshal(l.found)
	if err != nil {
		return l, err
	}
	l.body, l.next = httpd.NewBody(b), httpd.Again(at, s.o.Now())
	if len(s.lists) >= maxLists {
		clear(s.lists)
	}
	s.lists[typ] = l
	return l, nil
}

// find returns the services of a type, in the order of their keys.
func (s *Service) find(typ string) []*deployment.Service {
	entries := s.records.All(func(e *mirror.Entry[*deployment.Service]) bool { return e.Value.Type == typ })
	slices.SortFunc(entries, func(a, b mirror.Entry[*deployment.Service]) int { return strings.Compare(a.Key, b.Key) })
	found := make([]*deployment.Service, 0, len(entries))
	for _, e := range entries {
		found = append(found, e.Value)
	}
	return found
}

// keyOf returns the key of a record without the prefix.
func keyOf(a deployment.ServiceAddr, typ string) string {
	return a.PK.String() + ":" + strconv.Itoa(int(a.Port)) + "/" + typ
}

// one answers GET /api/services/{addr}.
func (c *call) one(addr string) error {
	a, typ, err := c.named(addr)
	if err != nil {
		return err
	}
	e, ok := c.s.records.Get(keyOf(a, typ))
	if !ok {
		return deployment.ErrNotFound.With("no such service is registered here")
	}
	httpd.JSON(c.RequestCtx, http.StatusOK, e.Value)
	return nil
}

// named reads the service that path and query name.
func (c *call) named(addr string) (a deployment.ServiceAddr, typ string, err error) {
	if err := a.UnmarshalText([]byte(addr)); err != nil {
		return a, "", deployment.ErrBadRequest.With("the path does not end in <key>:<port>")
	}
	typ, err = c.typ()
	return a, typ, err
}

// register answers POST /api/services.
func (c *call) register() error {
	pk, _, err := c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK)
	if err != nil {
		return err
	}
	sv, err := parse(c.PostBody())
	if err != nil {
		return err
	}
	if sv.Address.PK != pk {
		return deployment.ErrForbidden.With("a service is registered by the key of its address")
	}
	if c.caller.Addr.IsValid() && c.s.o.Geo != nil {
		sv.Geo = c.s.o.Geo.Locate(c.caller.Addr)
	}
	if err := c.s.put(context.Background(), sv); err != nil {
		return err
	}
	httpd.JSON(c.RequestCtx, http.StatusOK, sv)
	return nil
}

// put stores a service.
func (s *Service) put(ctx context.Context, sv *deployment.Service) error {
	if !s.keys.Allow(httpd.Source(sv.Address.PK), s.o.Now()) {
		return deployment.ErrRate
	}
	b, err := json.Marshal(sv)
	if err != nil {
		return err
	}
	key := keyOf(sv.Address, sv.Type)
	old, known := s.records.Get(key)
	if known {
		was, err := json.Marshal(old.Value)
		if err == nil && string(was) == string(b) && old.Expires.Sub(s.o.Now()) > s.o.TTL*3/5 {
			return nil // the store need not write what it has
		}
	} else {
		own := sv.Address.PK.String()
		n := len(s.records.All(func(e *mirror.Entry[*deployment.Service]) bool { return strings.HasPrefix(e.Key, own) }))
		switch {
		case n >= s.o.PerKey:
			return deployment.ErrLimit.With("this key has as many services as it may have, " + strconv.Itoa(s.o.PerKey))
		case s.records.Len() >= s.o.MaxServices:
			return deployment.ErrUnavailable.With("no room for more services, try again later")
		}
	}
	return s.records.Put(ctx, key, b, s.o.TTL, store.Always())
}

// remove answers DELETE /api/services/{addr}.
func (c *call) remove(addr string) error {
	pk, _, err := c.s.o.Verifier.VerifyLegacy(c.RequestCtx, c.caller.PK)
	if err != nil {
		return err
	}
	a, typ, err := c.named(addr)
	if err != nil {
		return err
	}
	if a.PK != pk {
		return deployment.ErrForbidden.With("a service is taken back by the key of its address")
	}
	err = c.s.records.Delete(context.Background(), keyOf(a, typ), store.Always())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	httpd.Raw(c.RequestCtx, http.StatusOK, []byte("{}"))
	return nil
}
