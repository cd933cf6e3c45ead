package transportdisc

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/nonce"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) {
	servicetest.Main(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

// A rig is a service that runs, mounted as skysvc mounts it.
type rig struct {
	t   testing.TB
	s   *Service
	url string
	rt  http.RoundTripper
}

func openStore(t testing.TB, url string) store.Store { return servicetest.Open(t, url, time.Now) }

func start(t testing.TB, st store.Store, change func(*Options)) *rig {
	t.Helper()
	o := DefaultOptions()
	o.Verifier = httpauth.NewVerifier(httpauth.Options{Nonces: nonce.New(st, time.Now)})
	if change != nil {
		change(&o)
	}
	s, err := New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	url := servicetest.Serve(t, httpd.Mount{Name: "tpd", Prefix: "/tpd", Service: s})
	rt := deployment.NewRoundTripper(nil)
	rt.MaxIdleConnsPerHost = 64
	t.Cleanup(rt.CloseIdleConnections)
	return &rig{t, s, url + "/tpd", rt}
}

// A person is a visor of a test.
type person struct {
	*deployment.TransportDiscovery
	pk     cipher.PubKey
	sk     cipher.SecKey
	in     deployment.Instance
	caller *deployment.Caller
	url    string
}

// started counts instances, so that each is started after those before.
var started atomic.Int64

func (r *rig) visor(n uint16) *person {
	sk := cipher.SecKey{30: byte(n >> 8), 31: byte(n)}
	pk, err := sk.PubKey()
	if err != nil {
		r.t.Fatal(err)
	}
	c := deployment.NewCaller(sk, r.rt, zerolog.Nop())
	p := &person{deployment.NewTransportDiscovery(r.url, c), pk, sk, deployment.Instance{}, c, r.url}
	p.restart()
	return p
}

func (p *person) restart() {
	p.in = deployment.NewInstance(time.Unix(started.Add(1), 0))
}

// entry returns a transport between two, signed by those who are given.
func entry(t testing.TB, a, b *person, typ string, signers ...*person) deployment.SignedTransport {
	t.Helper()
	e := deployment.SignedTransport{Transport: deployment.NewTransport(a.pk, b.pk, typ, deployment.LabelUser)}
	for _, s := range signers {
		sig, err := cipher.Sign(s.sk, e.SignedBytes())
		if err != nil {
			t.Fatal(err)
		}
		for i, pk := range e.Edges {
			if pk == s.pk {
				e.Signatures[i] = sig
			}
		}
	}
	return e
}

// register registers e for p and wants it to be taken.
func (p *person) register(t testing.TB, e ...deployment.SignedTransport) deployment.RegisterReply {
	t.Helper()
	reply, err := p.Register(t.Context(), p.in, e)
	if err != nil || len(reply.Refused) > 0 {
		t.Fatalf("register: %v %+v", err, reply.Refused)
	}
	return reply
}

// beat sends a heartbeat for p and returns what is unknown.
func (p *person) beat(t testing.TB, stats ...deployment.TransportStats) []deployment.TransportID {
	t.Helper()
	unknown, err := p.Heartbeat(t.Context(), p.in, stats)
	if err != nil {
		t.Fatal(err)
	}
	return unknown
}

func nopLog() zerolog.Logger { return zerolog.Nop() }
