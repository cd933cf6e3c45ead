package bootstrap

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestBootstrap(t *testing.T) {
	pk, sk := cipher.GenerateKeyPair()
	relay, _ := cipher.GenerateKeyPair()
	o := Options{
		SecKey: sk,
		Conf: deployment.Conf{
			Name: "test", DmsgDiscovery: "http://" + Here + ":9080/dmsgd", AddressResolver: "https://ar.example.com",
			STUNServers: []string{Here + ":3478"}, DmsgServers: []string{relay.String() + "@" + Here + ":8081"},
		},
		Dmsg: deployment.Conf{Name: "test", DmsgDiscovery: "dmsg://" + pk.String() + ":80/dmsgd", DmsgServers: []string{relay.String() + "@" + Here + ":8081", relay.String() + "@192.0.2.5:8081"}},
		Log:  zerolog.Nop(),
	}
	var s *Service
	r := servicetest.Run(t, servicetest.Open(t, "", time.Now), func(store.Store, *httpauth.Verifier) (httpd.Service, error) {
		var err error
		s, err = New(o)
		return s, err
	})
	rt := deployment.NewRoundTripper(nil)
	defer rt.CloseIdleConnections()
	c, err := deployment.FetchConf(t.Context(), r.URL, rt, pk)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != pk || c.DmsgDiscovery != "http://127.0.0.1:9080/dmsgd" || c.AddressResolver != "https://ar.example.com" ||
		c.STUNServers[0] != "127.0.0.1:3478" || c.DmsgServers[0] != relay.String()+"@127.0.0.1:8081" {
		t.Errorf("%+v", c)
	}
	if _, err := deployment.FetchConf(t.Context(), r.URL, rt, relay); !errors.Is(err, deployment.ErrNotSigned) {
		t.Errorf("another deployment was wanted: %v", err)
	}
	// Nobody has somebody else's address signed.
	if _, _, body := r.Do(t, "GET", "/", "", "X-Forwarded-Host", "evil.example.com", "Forwarded", "host=evil.example.com"); strings.Contains(body, "evil") {
		t.Error(body)
	}
	// Over dmsg: dmsg URLs, and nothing at an address that is not known there.
	var rc fasthttp.RequestCtx
	rc.Init(&fasthttp.Request{}, nil, nil)
	s.Handler(httpd.OverDmsg)(&rc)
	if over, err := deployment.ParseConf(rc.Response.Body(), string(rc.Response.Header.Peek(deployment.HeaderSig)), pk); err != nil || over.DmsgDiscovery != o.Dmsg.DmsgDiscovery || len(over.DmsgServers) != 1 || over.DmsgServers[0] != relay.String()+"@192.0.2.5:8081" {
		t.Errorf("%+v, %v", over, err)
	}
	// What deployed visors read.
	_, _, body := r.Do(t, "GET", "/dmsghttp", "")
	boot, err := disc.ParseBoot([]byte(`{"prod":`+body+`}`), false)
	if err != nil || len(boot.Servers) != 2 || boot.Servers[0].Static != relay || boot.DmsgDiscovery != o.Dmsg.DmsgDiscovery {
		t.Errorf("%s: %+v, %v", body, boot, err)
	}
	var list map[string]any
	_, _, body = r.Do(t, "GET", "/", "")
	if err := json.Unmarshal([]byte(body), &list); err != nil || list["route_setup_nodes"] == nil {
		t.Errorf("an empty list is one: %s", body)
	}
	for _, tt := range []struct {
		method, path string
		status       int
	}{{"POST", "/", 405}, {"GET", "/x", 404}} {
		if status, _, body := r.Do(t, tt.method, tt.path, ""); status != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, body)
		}
	}
}

func TestBadConf(t *testing.T) {
	_, sk := cipher.GenerateKeyPair()
	for _, o := range []Options{
		{},
		{SecKey: sk, Conf: deployment.Conf{DmsgDiscovery: "nonsense"}},
		{SecKey: sk, Conf: deployment.Conf{DmsgDiscovery: "http://x", STUNServers: []string{"x"}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o.Conf)
		}
	}
}
