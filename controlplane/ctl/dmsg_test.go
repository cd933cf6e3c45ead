package ctl

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestDmsgServers(t *testing.T) {
	w := startDmsg(t)
	for name, args := range map[string][]string{
		"discovery": w.args("servers", "--ping", "--json"),
		"pinned":    w.pinned("servers", "--ping", "--json"),
		"both":      append(w.args(), append(w.pinned()[1:], "servers", "--ping", "--json")...),
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := run(args...)
			var got []dmsgServer
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || errs != "" {
				t.Fatalf("exit %d: %s%s, %v", code, out, errs, err)
			}
			if len(got) != 1 || got[0].PK != w.relay || got[0].Address != w.addr || got[0].RTT <= 0 || got[0].Error != "" {
				t.Errorf("%+v", got)
			}
		})
	}
	if _, out, _ := run(w.args("servers")...); !strings.Contains(out, w.relay.String()+"  "+w.addr+"  community  100\n") {
		t.Errorf("table:\n%s", out)
	}
	// A relay that has another key than its entry says.
	_, out, _ := run("dmsg", "--server", k1+"@"+w.addr, "servers", "--ping")
	if !strings.Contains(out, "└ session handshake") {
		t.Errorf("table:\n%s", out)
	}
}

// TestDmsgDiscovery: nothing but a relay and the discovery's key is known.
func TestDmsgDiscovery(t *testing.T) {
	w := startDmsg(t)
	network := slices.Clip(append(w.pinned(), "--discovery", w.overDmsg(t)))
	if code, out, errs := run(append(network, "servers")...); code != 0 || !strings.Contains(out, w.relay.String()) {
		t.Errorf("servers: exit %d: %s%s", code, out, errs)
	}
	server := begin(t, strings.NewReader("there"), append(network, "cat", "--listen", "5000", "--public")...)
	client := begin(t, strings.NewReader("here"), append(network, "cat", server.await("listening at "))...)
	if c, s := client.end(), server.end(); c != 0 || s != 0 || client.out.String() != "there" || server.out.String() != "here" {
		t.Errorf("exit %d and %d: %s%s, %s%s", c, s, client.out.String(), client.err.String(), server.out.String(), server.err.String())
	}
}

func TestDmsgEntry(t *testing.T) {
	w := startDmsg(t)
	code, out, errs := run(w.args("entry", w.relay.String())...)
	if code != 0 || !strings.Contains(out, "relay      at "+w.addr+"\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, out, _ = run(w.args("entry", "--json", w.relay.String())...)
	if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"signature"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, _, errs = run(w.args("entry", k1)...); code != ExitFailed || !strings.Contains(errs, "has no entry of "+k1) {
		t.Errorf("unknown key: exit %d: %s", code, errs)
	}
	if code, _, errs = run(w.pinned("entry", k1)...); code != ExitFailed || !strings.Contains(errs, "--discovery") {
		t.Errorf("no discovery: exit %d: %s", code, errs)
	}
}

// TestDmsgCat: both directions arrive whole, one after the end of the other, and the
// listener answers pings meanwhile.
func TestDmsgCat(t *testing.T) {
	w := startDmsg(t)
	pk, key := keyFile(t)
	question, answer := noise(1, 3<<20+1), noise(2, 5<<20+3)
	hold, release := io.Pipe() // the answer begins after the question's end
	server := begin(t, hold, w.args("cat", "--listen", "5000", "--public", "--sk-file", key)...)
	addr := server.await("listening at ")
	if want := pk.String() + ":5000"; addr != want {
		t.Fatalf("listens at %s, want %s", addr, want)
	}

	code, out, errs := run(w.args("ping", "-c", "3", "-i", "1ms", "--json", pk.String())...)
	var pings dmsgPings
	if err := json.Unmarshal([]byte(out), &pings); err != nil || code != 0 || pings.Answered != 3 || pings.DialUS <= 0 || *pings.Relay != w.relay {
		t.Errorf("ping: exit %d: %s%s, %v", code, out, errs, err)
	}

	go func() {
		for len(server.out.String()) < len(question) {
			time.Sleep(time.Millisecond)
		}
		release.Write(answer)
		release.Close()
	}()
	client := begin(t, bytes.NewReader(question), w.args("cat", addr)...)
	if c, s := client.end(), server.end(); c != 0 || s != 0 {
		t.Fatalf("exit codes %d and %d: %s%s", c, s, client.err.String(), server.err.String())
	}
	if got := server.out.String(); sha256.Sum256([]byte(got)) != sha256.Sum256(question) {
		t.Errorf("%d of %d bytes there", len(got), len(question))
	}
	if got := client.out.String(); sha256.Sum256([]byte(got)) != sha256.Sum256(answer) {
		t.Errorf("%d of %d bytes back", len(got), len(answer))
	}
}

// TestDmsgAllow: who is not allowed is turned away, and who is comes in afterwards.
func TestDmsgAllow(t *testing.T) {
	w := startDmsg(t)
	pk, key := keyFile(t)
	server := begin(t, strings.NewReader("secret"), w.pinned("cat", "--listen", "5000", "--allow", pk.String())...)
	addr := server.await("listening at ")
	stranger := begin(t, strings.NewReader("let me in"), w.pinned("cat", addr)...)
	if code := stranger.end(); code != ExitFailed || stranger.out.String() != "" {
		t.Errorf("stranger: exit %d, got %q: %s", code, stranger.out.String(), stranger.err.String())
	}
	server.await("may not connect and was refused")
	friend := begin(t, strings.NewReader("it is me"), w.pinned("cat", addr, "--sk-file", key)...)
	if code := friend.end(); code != 0 || friend.out.String() != "secret" {
		t.Errorf("friend: exit %d, got %q: %s", code, friend.out.String(), friend.err.String())
	}
	if code := server.end(); code != 0 || server.out.String() != "it is me" {
		t.Errorf("server: exit %d, got %q", code, server.out.String())
	}
}

// TestDmsgInterrupt: what waits, ends.
func TestDmsgInterrupt(t *testing.T) {
	w := startDmsg(t)
	nobody, _ := io.Pipe()
	for _, tt := range []struct {
		args []string
		said string
		code int
	}{
		{w.pinned("cat", "--listen", "7000", "--public"), "listening at ", ExitFailed},
		{w.pinned("iperf", "--listen", "--public"), "listening at ", ExitOK},
		{w.pinned("forward", "--expose", "127.0.0.1:1", "--port", "80", "--public"), "is exposed at ", ExitOK},
		{w.pinned("forward", "--reach", k1+":80", "--local", "127.0.0.1:34517"), "is reached at ", ExitOK},
	} {
		p := begin(t, nobody, tt.args...)
		p.await(tt.said)
		p.stop()
		if code := p.end(); code != tt.code {
			t.Errorf("%v: exit %d, want %d: %s", tt.args, code, tt.code, p.err.String())
		}
	}
}

// TestDmsgForward: a web server that is exposed on one side is reached on a local port
// of the other.
func TestDmsgForward(t *testing.T) {
	w := startDmsg(t)
	body := noise(3, 7<<20+5)
	local := serveHTTP(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.Copy(rw, r.Body)
			return
		}
		rw.Write(body)
	}))
	exposed := begin(t, nil, w.args("forward", "--expose", local, "--port", "80", "--public")...)
	addr := exposed.await(local + " is exposed at ")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	reached := begin(t, nil, w.args("forward", "--reach", addr, "--local", at, "--json")...)
	reached.await(`{"address":"` + at + `","target":"` + addr + `"}`)
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Get("http://" + at + "/")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || sha256.Sum256(got) != sha256.Sum256(body) {
			t.Errorf("%d of %d bytes, %v", len(got), len(body), err)
		}
		resp.Body.Close()
	}
	resp, err := client.Post("http://"+at+"/", "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || sha256.Sum256(got) != sha256.Sum256(body) {
		t.Errorf("echo of %d of %d bytes, %v", len(got), len(body), err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()
	exposed.await("end of the connection from ")
}

func TestDmsgIperf(t *testing.T) {
	w := startDmsg(t)
	server := begin(t, nil, w.args("iperf", "--listen", "--public", "--port", "99", "--json")...)
	server.await(`"text":"listening at `)
	_, rest, _ := strings.Cut(server.err.String(), `"text":"listening at `)
	addr, _, _ := strings.Cut(rest, `"`)
	code, out, errs := run(w.args("iperf", "-t", "1s", "-P", "2", "--both", "--json", addr)...)
	var r iperfResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("exit %d: %s%s, %v", code, out, errs, err)
	}
	if r.Up == nil || r.Down == nil || r.Up.Bytes == 0 || r.Down.Bytes == 0 || r.Streams != 2 || len(r.Relays) != 1 {
		t.Errorf("%s", out)
	}
	server.await(`"direction":"up"`)
	server.await(`"direction":"down"`)
	if code, _, errs := run(w.args("iperf", addr[:66]+":98")...); code != ExitFailed || !strings.Contains(errs, "nobody listens on its port 98") {
		t.Errorf("wrong port: exit %d: %s", code, errs)
	}
}

func TestDmsgErrors(t *testing.T) {
	w := startDmsg(t)
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"dmsg", "servers"}, ExitFailed, "no network is named: give its discovery with --discovery URL"},
		{[]string{"dmsg", "--server", "x@y", "servers"}, ExitUsage, "want its key and address, PK@HOST:PORT"},
		{[]string{"dmsg", "--server", k1 + "@host", "servers"}, ExitUsage, "want HOST:PORT"},
		{[]string{"dmsg", "--discovery", "dmsg://" + k1, "servers"}, ExitFailed, "name one with --server"},
		{[]string{"dmsg", "--discovery", "ftp://x", "servers"}, ExitFailed, "http:// and https:// only"},
		{[]string{"dmsg", "--discovery", "http://127.0.0.1:1", "servers"}, ExitFailed, "--discovery names another"},
		{[]string{"dmsg", "--discovery", "http://127.0.0.1:1", "--timeout", "1s", "cat", "-l", "5", "--public"}, ExitFailed, "--discovery names another"},
		{[]string{"dmsg", "--server", k1 + "@127.0.0.1:1", "--timeout", "200ms", "cat", "-l", "5", "--public"}, ExitFailed, "none of the relays of --server was reached"},
		{w.args("--timeout", "0s", "servers"), ExitUsage, "--timeout is 0s"},
		{w.args("--sk-file", "/nowhere/key", "servers"), ExitFailed, "/nowhere/key"},
		{w.args("cat"), ExitUsage, "want either PK:PORT to connect to, or --listen PORT"},
		{w.args("cat", "--listen", "5"), ExitUsage, "who may connect?"},
		{w.args("cat", "--listen", "5", "--public", "--allow", k1), ExitUsage, "decide for one"},
		{w.args("cat", k1+":5", "--public"), ExitUsage, "belong to --listen"},
		{w.args("cat", k1), ExitUsage, "want PK:PORT"},
		{w.args("cat", k1+":5"), ExitFailed, "does not know the key " + k1},
		{w.args("ping", "-c", "1", k1), ExitFailed, "does not know the key " + k1},
		{w.args("ping", "--count=-1", k1), ExitUsage, "--count is -1"},
		{w.args("forward"), ExitUsage, "on a port of the own key, or reach"},
		{w.args("forward", "--expose", "h:1", "--port", "5"), ExitUsage, "--allow: is empty"},
		{w.args("iperf", "--time", "1h", k1), ExitUsage, "--time is 1h0m0s; want 1s to 5m0s"},
		{w.args("iperf", "-R", "-b", k1), ExitUsage, "both set"},
		{w.args("curl", "http://example.org/"), ExitUsage, "no dmsg URL"},
		{w.args("curl", "dmsg://"+k1[2:]+"/"), ExitUsage, "no dmsg URL"},
		{w.args("curl", "-C", k1+"/x"), ExitUsage, "name it with --output"},
		{w.args("curl", k1+"/x"), ExitFailed, "does not know the key " + k1},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, _, errs := run(tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, %q; want %d, %q", code, errs, tt.code, tt.want)
			}
		})
	}
}

// TestDoorShares: one key does not take the places of the others.
func TestDoorShares(t *testing.T) {
	a, b := pk(t, k1), pk(t, k2)
	tests := []struct {
		name   string
		access access
		want   int // places of 8
	}{
		{"public", access{public: true}, 2},
		{"one key", access{allow: []cipher.PubKey{a}}, 8},
		{"two keys", access{allow: []cipher.PubKey{a, b}}, 4},
		{"many keys", access{allow: make([]cipher.PubKey, 9)}, 2},
	}
	for _, tt := range tests {
		d := door{access: &tt.access, limit: 8}
		got := 0
		for d.enter(a) {
			got++
		}
		if got != tt.want || !d.enter(b) {
			t.Errorf("%s: one key takes %d places, want %d", tt.name, got, tt.want)
		}
	}
}
