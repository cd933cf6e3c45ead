package dmsgdisc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Refusals that the deployed discovery does not know.
var (
	errNoPath = &disc.Fault{Status: http.StatusNotFound, Text: "no such path"}
	errMethod = &disc.Fault{Status: http.StatusMethodNotAllowed, Text: "method not allowed"}
	errFull   = &disc.Fault{Status: http.StatusServiceUnavailable, Text: "no room for new entries, try again later"}
	errDenied = &disc.Fault{Status: http.StatusForbidden, Text: "not an allowed network monitor"}
	errBusy   = &disc.Fault{Status: http.StatusServiceUnavailable, Text: disc.ErrUnexpected.Text}
	errHeavy  = &disc.Fault{Status: http.StatusServiceUnavailable, Text: "the list is too long, ask for one server"}
)

const base = "/dmsg-discovery/"

// A call is one request. What it asks of the store does not end with the caller's
// connection: the store has its own time-outs, and an answer that nobody reads is
// better than a write that is neither done nor refused.
type call struct {
	*fasthttp.RequestCtx
	s      *Service
	caller httpd.Caller
}

// Handler returns the handler of the whole API for connections of one kind.
func (s *Service) Handler(over httpd.Over) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		c := call{rc, s, httpd.CallerOf(rc, over)}
		route := c.route()
		s.metrics.count(route, rc.Response.StatusCode())
	}
}

// route answers the request and says what it was.
func (c *call) route() route {
	rest, ok := bytes.CutPrefix(c.Path(), []byte(base))
	if !ok {
		c.refuse(errNoPath)
		return routeOther
	}
	if pk, ok := bytes.CutPrefix(rest, []byte("entry/")); ok && (c.IsGet() || c.IsHead()) {
		c.get(func() { c.entry(pk) })
		return routeEntry
	}
	switch name := string(rest); {
	case name == "entry" || strings.HasPrefix(name, "entry/"):
		switch {
		case c.IsPost():
			c.write(c.publish)
			return routePublish
		case c.IsDelete():
			c.write(c.remove)
			return routeRemove
		}
		c.refuse(errMethod)
	case name == "available_servers":
		c.get(c.availableServers)
		return routeServers
	case name == "all_servers":
		c.get(c.allServers)
		return routeServers
	case name == "entries":
		c.get(c.clientKeys)
		return routeClients
	case name == "visorEntries":
		c.get(c.visorKeys)
		return routeClients
	case name == "servers/clients":
		c.get(c.clientsByServer)
		return routeClients
	case strings.HasPrefix(name, "server/") && strings.HasSuffix(name, "/clients"):
		c.get(func() { c.clientsOf(strings.TrimSuffix(name[len("server/"):], "/clients")) })
		return routeClients
	case name == "entries/batch":
		if !c.IsPost() {
			c.refuse(errMethod)
		} else if c.readAllowed() {
			c.batch()
		}
		return routeBatch
	case name == "deregister":
		if !c.IsDelete() {
			c.refuse(errMethod)
		} else {
			c.write(c.deregister)
		}
		return routeDeregister
	default:
		c.refuse(errNoPath)
	}
	return routeOther
}

// get runs f for a request that only asks.
func (c *call) get(f func()) {
	if !c.IsGet() && !c.IsHead() {
		c.refuse(errMethod)
		return
	}
	if c.readAllowed() {
		f()
	}
}

func (c *call) readAllowed() bool {
	if c.s.reads.Allow(c.caller.Source(), c.s.o.Now()) {
		return true
	}
	c.refuse(disc.ErrRateLimited)
	return false
}

// write runs f for a request that changes something.
func (c *call) write(f func() error) {
	if !c.s.writes.Allow(c.caller.Source(), c.s.o.Now()) {
		c.refuse(disc.ErrRateLimited)
		return
	}
	if err := f(); err != nil {
		c.refuse(err)
	}
}

// reply says that something was done.
func (c *call) reply(text string) error {
	c.json(http.StatusOK, mustJSON(disc.Reply{Message: text, Code: http.StatusOK}))
	return nil
}

// refuse answers with what err says. Errors of the store are told to the log, not
// to strangers.
func (c *call) refuse(err error) {
	var f *disc.Fault
	if !errors.As(err, &f) {
		f = disc.ErrUnexpected
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrClosed) {
			f = errBusy
		}
		c.s.metrics.storeErrors.Add(1)
		if e := c.s.log.Debug(); e.Enabled() {
			e.Err(err).Msg("request failed")
		}
	}
	if f.Status == http.StatusTooManyRequests || f.Status == http.StatusServiceUnavailable {
		c.Response.Header.Set("Retry-After", strconv.Itoa(httpd.RetryAfter()))
	}
	c.json(f.Status, mustJSON(disc.Reply{Message: f.Text, Code: f.Status}))
}

// json sets status and body; body is kept.
func (c *call) json(status int, body []byte) {
	c.SetStatusCode(status)
	c.SetContentType("application/json")
	c.Response.SetBodyRaw(body)
}

// mustJSON encodes what cannot fail to be.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("dmsgdisc: " + err.Error())
	}
	return b
}

// publish answers POST entry/.
func (c *call) publish() error {
	e, err := disc.Parse(c.PostBody())
	if err != nil {
		return disc.ErrUnexpected
	}
	short := string(c.QueryArgs().Peek("timeout")) == "true"
	first, err := c.s.publish(context.Background(), e, c.caller.Source(), short)
	if err != nil {
		return err
	}
	if first {
		return c.reply("wrote a new entry")
	}
	return c.reply("wrote new entry iteration")
}

// remove answers DELETE entry.
func (c *call) remove() error {
	e, err := disc.Parse(c.PostBody())
	if err != nil {
		return disc.ErrUnexpected
	}
	if err := c.s.remove(context.Background(), e, c.caller); err != nil {
		return err
	}
	return c.reply("deleted entry")
}

// deregister answers DELETE deregister.
func (c *call) deregister() error {
	pk, err := cipher.ParsePubKeyText(string(c.Request.Header.Peek("NM-PK")))
	if err != nil || !c.s.monitors[pk] {
		return errDenied
	}
	if c.caller.PK != pk {
		if c.s.o.MonitorsDmsgOnly {
			return errDenied
		}
		var sig cipher.Sig
		if err := sig.UnmarshalText(c.Request.Header.Peek("NM-Sign")); err != nil {
			return disc.ErrBadInput
		}
		if err := cipher.Verify(pk, sig, []byte(pk.String())); err != nil {
			return errDenied
		}
	}
	var pks []cipher.PubKey
	if err := json.Unmarshal(c.PostBody(), &pks); err != nil {
		return disc.ErrBadInput
	}
	if err := c.s.deregister(context.Background(), pks); err != nil {
		return err
	}
	c.s.log.Info().Stringer("monitor", pk).Int("entries", len(pks)).Msg("entries deregistered")
	return c.reply("deregistered entries")
}
