package httpauth

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// memory is Nonces in memory, from 0 on as the deployed services have them.
type memory struct {
	mu sync.Mutex
	n  map[cipher.PubKey]uint64
}

func (m *memory) Nonce(_ context.Context, pk cipher.PubKey) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n[pk], nil
}

func (m *memory) Consume(_ context.Context, pk cipher.PubKey, nonce uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n[pk] != nonce {
		return ErrNonceUsed
	}
	m.n[pk]++
	return nil
}

// A clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// keys returns the n-th key pair of a test.
func keys(n byte) (cipher.PubKey, cipher.SecKey) {
	sk := cipher.SecKey{31: n}
	pk, err := sk.PubKey()
	if err != nil {
		panic(err)
	}
	return pk, sk
}

// A request of a test. Its zero fields are filled in as a right request has them.
type request struct {
	method, host, uri, body string
	signer                  byte // whose secret key signs
	as                      byte // who it says it is
	ms                      int64
	nonce                   string
	header                  map[string]string // instead of the right ones; "-": none
	stream                  byte              // over dmsg, of this key
}

const (
	start = int64(1_800_000_000_000)
	here  = "127.0.0.1:9080"
)

// ctx makes r a request that has arrived.
func (r request) ctx() (*fasthttp.RequestCtx, cipher.PubKey) {
	var stream cipher.PubKey
	local := net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9080})
	if r.stream != 0 {
		stream, _ = keys(r.stream)
		local = dmsgAddr("x:80")
	}
	var req fasthttp.Request
	req.Header.SetMethod(r.method)
	req.SetRequestURI(r.uri)
	req.Header.SetHost(r.host)
	req.SetBodyString(r.body)
	for k, v := range r.header {
		if v != "-" {
			req.Header.Set(k, v)
		}
	}
	rc := new(fasthttp.RequestCtx)
	rc.Init2(conn{local}, nil, false)
	req.CopyTo(&rc.Request)
	return rc, stream
}

// sign fills the headers in, then lets changed overwrite what was signed.
func (r request) sign(change func(*request)) request {
	if r.method == "" {
		r.method = "POST"
	}
	if r.host == "" {
		r.host = here
	}
	if r.uri == "" {
		r.uri = "/tpd/transports/?a=b"
	}
	if r.signer == 0 {
		r.signer = 1
	}
	if r.as == 0 {
		r.as = r.signer
	}
	if r.ms == 0 {
		r.ms = start
	}
	if r.nonce == "" {
		r.nonce = "000102030405060708090a0b0c0d0e0f"
	}
	pk, _ := keys(r.as)
	_, sk := keys(r.signer)
	sig, err := cipher.SignDigest(sk, deployment.RequestDigest(r.method, r.host, r.uri, r.ms, r.nonce, []byte(r.body)))
	if err != nil {
		panic(err)
	}
	r.header = map[string]string{
		deployment.HeaderKey: pk.String(), deployment.HeaderTime: strconv.FormatInt(r.ms, 10),
		deployment.HeaderNonce: r.nonce, deployment.HeaderSig: sig.String(),
	}
	if change != nil {
		change(&r)
	}
	return r
}

type dmsgAddr string

func (dmsgAddr) Network() string  { return "dmsg" }
func (a dmsgAddr) String() string { return string(a) }

// A conn is as much of a connection as a context asks for.
type conn struct{ local net.Addr }

func (c conn) LocalAddr() net.Addr            { return c.local }
func (conn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }
func (conn) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (conn) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (conn) Close() error                     { return nil }
func (conn) SetDeadline(time.Time) error      { return nil }
func (conn) SetReadDeadline(time.Time) error  { return nil }
func (conn) SetWriteDeadline(time.Time) error { return nil }

// A server answers with the key of the caller.
func serve(t *testing.T, o Options) (url string, v *Verifier) {
	t.Helper()
	v = NewVerifier(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fasthttp.Server{Handler: func(rc *fasthttp.RequestCtx) {
		pk, _, err := v.VerifyLegacy(rc, cipher.PubKey{})
		var e *deployment.Error
		if errors.As(err, &e) {
			b, _ := json.Marshal(e)
			rc.SetStatusCode(e.Status)
			rc.SetBody(b)
			return
		}
		rc.SetStatusCode(http.StatusOK)
		rc.SetBodyString(`"` + pk.String() + `"`)
	}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
	return "http://" + l.Addr().String(), v
}
