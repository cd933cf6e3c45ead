package dmsgdisc

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
)

// FuzzHandler sends anything to any path: an answer with JSON in it comes back, and
// the entry of another key stays what it was.
func FuzzHandler(f *testing.F) {
	r := newRig(f, nil)
	victim := r.client(0x11, nil)
	if _, err := r.s.publish(f.Context(), victim, httpd.Source{}, false); err != nil {
		f.Fatal(err)
	}
	server := r.server(0x22, nil)
	f.Add("POST", entryPath, text(server))
	f.Add("POST", entryPath+"?timeout=true", strings.Replace(text(victim), "visor", "x", 1))
	f.Add("DELETE", "/dmsg-discovery/entry", text(victim))
	f.Add("DELETE", "/dmsg-discovery/deregister", `["`+victim.Static.String()+`"]`)
	f.Add("POST", "/dmsg-discovery/entries/batch", `["`+victim.Static.String()+`","",null]`)
	f.Add("GET", "/dmsg-discovery/server/x/clients", "")
	f.Add("GET", "/dmsg-discovery/servers/clients", "")
	handler := r.s.Handler(httpd.OverTCP)
	f.Fuzz(func(t *testing.T, method, uri, body string) {
		var rc fasthttp.RequestCtx
		var rq fasthttp.Request
		rq.Header.SetMethod(method)
		rq.SetRequestURI(uri)
		rq.SetBodyString(body)
		rc.Init(&rq, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
		handler(&rc)
		answer := rc.Response.Body()
		if !json.Valid(answer) {
			t.Fatalf("%d %s", rc.Response.StatusCode(), answer)
		}
		if it := r.s.mirror.get(victim.Static, r.clock.Now()); it == nil || string(it.raw) != text(victim) {
			t.Fatal("the entry of another has changed")
		}
	})
}

// A server that publishes over dmsg is known by its key.
func TestCallerOverDmsg(t *testing.T) {
	r := newRig(t, nil)
	e := r.client(0x11, nil)
	r.want("POST", entryPath, text(e), 200, wroteNew)
	stranger, _ := keyPair(t, 0x33)
	handler := r.s.Handler(httpd.OverDmsg)
	do := func(caller, method, path string) (int, string) {
		var rc fasthttp.RequestCtx
		var rq fasthttp.Request
		rq.Header.SetMethod(method)
		rq.SetRequestURI(path)
		rq.SetBodyString(text(e))
		rc.Init(&rq, dmsgAddr(caller), nil)
		handler(&rc)
		return rc.Response.StatusCode(), string(rc.Response.Body())
	}
	if status, _ := do(stranger.String()+":49153", "GET", entryPath+e.Static.String()); status != 200 {
		t.Errorf("look-up over dmsg: %d", status)
	}
	for _, caller := range []string{stranger.String() + ":49153", "x", "127.0.0.1:5"} {
		if status, body := do(caller, "DELETE", "/dmsg-discovery/entry"); status != disc.ErrOutdated.Status {
			t.Errorf("deletion by %s: %d %s", caller, status, body)
		}
	}
	if status, body := do(e.Static.String()+":49153", "DELETE", "/dmsg-discovery/entry"); status != 200 {
		t.Errorf("deletion by the author: %d %s", status, body)
	}
}

type dmsgAddr string

func (dmsgAddr) Network() string  { return "dmsg" }
func (a dmsgAddr) String() string { return string(a) }
