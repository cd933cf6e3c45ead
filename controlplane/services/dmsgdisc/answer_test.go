package dmsgdisc

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
)

func TestGzip(t *testing.T) {
	r := newRig(t, nil)
	for b := range byte(10) {
		r.want("POST", entryPath, text(r.server(0x30+b, nil)), 200, wroteNew)
	}
	const path = "/dmsg-discovery/all_servers"
	_, plain := r.do("GET", path, "")
	rs := r.response("GET", path, "", "Accept-Encoding", "gzip")
	defer rs.Body.Close()
	z, err := gzip.NewReader(rs.Body)
	if err != nil {
		t.Fatalf("%v, %v", err, rs.Header)
	}
	got, err := io.ReadAll(z)
	if err != nil || string(got) != plain {
		t.Errorf("unpacked: %s, %v", got, err)
	}
	tag := rs.Header.Get("ETag")
	bare := r.response("GET", path, "")
	bare.Body.Close()
	if tag == "" || tag == bare.Header.Get("ETag") || rs.Header.Get("Vary") != "Accept-Encoding" || bare.Header.Get("Vary") != "Accept-Encoding" || bare.Header.Get("Content-Encoding") != "" {
		t.Errorf("headers %v\nwithout gzip %v", rs.Header, bare.Header)
	}
	if status, _ := r.do("GET", path, "", "Accept-Encoding", "gzip", "If-None-Match", tag); status != http.StatusNotModified {
		t.Errorf("with the packed one's tag: %d", status)
	}
	// Go's client, and so the directory's, asks for gzip by itself.
	c, err := disc.New(r.url, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if list, err := c.AllServers(t.Context()); err != nil || len(list) != 10 {
			t.Errorf("%d servers, %v", len(list), err)
		}
	}
	// What is short is sent as it is.
	e := r.client(0x11, nil)
	r.want("POST", entryPath, text(e), 200, wroteNew)
	if _, got := r.do("GET", entryPath+e.Static.String(), "", "Accept-Encoding", "gzip"); got != text(e) {
		t.Errorf("an entry: %q", got)
	}
}
