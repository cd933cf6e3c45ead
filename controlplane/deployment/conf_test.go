package deployment

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func testConf() Conf {
	id, _ := keys(9)
	node, _ := keys(8)
	return Conf{
		ID: id, Name: "test", DmsgDiscovery: "http://10.0.0.1:9080/dmsgd", TransportDiscovery: "dmsg://" + id.String() + ":80/tpd",
		AddressResolver: "https://ar.example", SetupNodes: []cipher.PubKey{node}, STUNServers: []string{"10.0.0.1:3478", "[::1]:3478"},
		DmsgServers: []string{node.String() + "@relay.example:8081"},
	}
}

func TestFetchConf(t *testing.T) {
	want := testConf()
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	_, sk := keys(9)
	good, _ := cipher.Sign(sk, body)
	_, thief := keys(7)
	stolen, _ := cipher.Sign(thief, body)
	other, _ := keys(7)
	invalid := []byte(`{"deployment":"` + want.ID.String() + `","stun_servers":["x"]}`)
	signedInvalid, _ := cipher.Sign(sk, invalid)
	tests := []struct {
		name string
		h    http.HandlerFunc
		pin  cipher.PubKey
		want error // nil: all is well
	}{
		{"first time", answer(200, HeaderSig, good.String(), string(body)), cipher.PubKey{}, nil},
		{"pinned", answer(200, HeaderSig, good.String(), string(body)), want.ID, nil},
		{"another's", answer(200, HeaderSig, good.String(), string(body)), other, ErrNotSigned},
		{"signed by another", answer(200, HeaderSig, stolen.String(), string(body)), cipher.PubKey{}, ErrNotSigned},
		{"changed", answer(200, HeaderSig, good.String(), string(body)+" "), cipher.PubKey{}, ErrNotSigned},
		{"not signed", answer(200, "", "", string(body)), cipher.PubKey{}, ErrNotSigned},
		{"no JSON", answer(200, HeaderSig, good.String(), "<html>"), cipher.PubKey{}, ErrAnswer},
		{"refused", answer(404, "", "", ""), cipher.PubKey{}, ErrNotFound},
		{"too long", answer(200, HeaderSig, good.String(), strings.Repeat(" ", maxConf+1)), cipher.PubKey{}, ErrAnswer},
	}
	for _, tt := range tests {
		url, c := serve(t, tt.h)
		got, err := FetchConf(t.Context(), url, c.rt, tt.pin)
		if !errors.Is(err, tt.want) || tt.want == nil && (err != nil || got.ID != want.ID || got.DmsgServers[0] != want.DmsgServers[0]) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	url, c := serve(t, answer(200, HeaderSig, signedInvalid.String(), string(invalid)))
	if _, err := FetchConf(t.Context(), url, c.rt, cipher.PubKey{}); err == nil || !strings.Contains(err.Error(), "stun_servers[0]") {
		t.Errorf("invalid: %v", err)
	}
	if _, err := FetchConf(t.Context(), "nowhere", c.rt, cipher.PubKey{}); err == nil {
		t.Error("no URL is taken")
	}
}

func TestConfValidate(t *testing.T) {
	if err := testConf().Validate(); err != nil {
		t.Error(err)
	}
	bad := Conf{
		DmsgDiscovery: "ftp://x", TransportDiscovery: "x", AddressResolver: "http://u:p@x", RouteFinder: "http://", ServiceDiscovery: "http://x?q",
		SetupNodes: []cipher.PubKey{{}}, STUNServers: []string{"x", ":1", "x:0"}, DmsgServers: []string{"x@y:1", ""},
	}
	err := bad.Validate()
	for _, want := range []string{
		"deployment: no key", "dmsg_discovery", "transport_discovery", "address_resolver", "route_finder", "service_discovery",
		"route_setup_nodes[0]", "stun_servers[0]", "stun_servers[1]", "stun_servers[2]", "dmsg_servers[0]", "dmsg_servers[1]",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

func FuzzParseConf(f *testing.F) {
	body, _ := json.Marshal(testConf())
	_, sk := keys(9)
	sig, _ := cipher.Sign(sk, body)
	f.Add(body, sig.String())
	f.Add([]byte(`{}`), "")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		c, err := ParseConf(data, text, cipher.PubKey{})
		if err == nil && (c.ID.IsZero() || string(data) != string(body)) {
			t.Errorf("taken: %q", data)
		}
	})
}
