package deployment

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Bounds of a call.
const (
	// Timeout is how long a call takes at most, its repetition included.
	Timeout = 10 * time.Second
	// maxReply is the most bytes of an answer; maxList of a list of everything, some
	// 600 bytes for each of 100,000 transports.
	maxReply = 4 << 20
	maxList  = 64 << 20
)

// A Caller makes the requests of all clients under one key: it signs them, corrects
// for clocks that differ and bounds their time and size. It may be used concurrently.
//
// Where a service says that the time of a request is far from its own, the request
// is repeated once by the service's clock, which later ones go by too: a board
// without a clock works. A false service, or who can change what it answers, could
// so be handed requests of another time; they say nothing but what the caller tells
// that very service anyway.
type Caller struct {
	sk  cipher.SecKey
	pk  cipher.PubKey
	rt  http.RoundTripper
	log zerolog.Logger
	now func() time.Time

	mu   sync.Mutex
	skew map[string]time.Duration // of services' clocks, ahead of ours, by host
}

// NewCaller returns a Caller for sk over rt. A key that is not valid makes every
// signed call fail.
func NewCaller(sk cipher.SecKey, rt http.RoundTripper, log zerolog.Logger) *Caller {
	pk, _ := sk.PubKey()
	return &Caller{sk: sk, pk: pk, rt: rt, log: log, now: time.Now, skew: make(map[string]time.Duration)}
}

// Key returns the caller's public key.
func (c *Caller) Key() cipher.PubKey { return c.pk }

// Skew returns by how much the clocks of the services are ahead of ours: the largest
// difference, by its amount, that a service reported; 0 where none did.
func (c *Caller) Skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var most time.Duration
	for _, d := range c.skew {
		if d.Abs() > most.Abs() {
			most = d
		}
	}
	return most
}

// Do makes a signed request for base+path with in as its JSON body (nil: none) and
// decodes the answer into out (nil: ignored). A refusal is an *Error; where nobody
// answers, the error wraps ErrUnavailable.
func (c *Caller) Do(ctx context.Context, method, base, path string, in, out any) error {
	return c.do(ctx, request{method: method, base: base, path: path, in: in, out: out, signed: true})
}

// doAs is Do for an instance.
func (c *Caller) doAs(ctx context.Context, method, base string, self Instance, as func(Instance) (path string, in any), out any) error {
	return c.do(ctx, request{method: method, base: base, self: &self, as: as, out: out, signed: true})
}

// Ask makes a GET request that tells nobody who asks, and decodes the answer.
func (c *Caller) Ask(ctx context.Context, base, path string, out any) error {
	return c.do(ctx, request{method: http.MethodGet, base: base, path: path, out: out})
}

// A request is what a client wants to have done.
type request struct {
	method, base, path string
	in, out            any
	signed             bool
	limit              int64 // bytes of the answer; 0: maxReply

	// self, if not nil, is the instance that asks, and as makes path and in for it. Its
	// start is given by the service's clock: of two runs of a visor whose clock is set
	// back in between, the later one must be seen to be that.
	self *Instance
	as   func(Instance) (path string, in any)

	// For conditional requests: the tag that is known, and after the call the
	// answer's. notModified says that they are the same; out is left alone then.
	tag         *string
	notModified *bool
}

func (c *Caller) do(ctx context.Context, r request) error {
	u, err := url.Parse(r.base)
	if err != nil || u.Host == "" {
		return fmt.Errorf("deployment: %q is not the URL of a service; it looks like http://host:port or dmsg://<key>:80", r.base)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	host := u.Host
	u, err = c.once(ctx, host, r)
	if errors.Is(err, ErrClock) && c.learn(host, err) {
		u, err = c.once(ctx, host, r)
	}
	if err != nil {
		return fmt.Errorf("deployment: %s %s://%s%s: %w", r.method, u.Scheme, u.Host, u.Path, err)
	}
	return nil
}

// learn notes what a service says about its clock, and whether that is news.
func (c *Caller) learn(host string, err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.ServerTime == 0 {
		return false
	}
	skew := time.UnixMilli(e.ServerTime).Sub(c.now()).Round(time.Millisecond)
	c.log.Warn().Str("service", host).Stringer("ahead", skew).Msg("the clock of a service is another than ours; going by its")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew[host] = skew
	return true
}

// skewOf returns by how much the clock of the service at host is ahead of ours.
func (c *Caller) skewOf(host string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew[host]
}

// once makes a request of the service at host, and returns for which URL it was.
func (c *Caller) once(ctx context.Context, host string, r request) (*url.URL, error) {
	if r.as != nil {
		self := *r.self
		self.Started += c.skewOf(host).Milliseconds()
		r.path, r.in = r.as(self)
	}
	u, err := url.Parse(strings.TrimSuffix(r.base, "/") + r.path)
	if err != nil {
		return &url.URL{}, err
	}
	var body []byte
	if r.in != nil {
		if body, err = json.Marshal(r.in); err != nil {
			return u, fmt.Errorf("encode: %w", err)
		}
	}
	return u, c.send(ctx, r, u, body)
}

// send makes a request.
func (c *Caller) send(ctx context.Context, r request, u *url.URL, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.tag != nil && *r.tag != "" {
		req.Header.Set("If-None-Match", *r.tag)
	}
	if r.signed && u.Scheme != dmsghttp.Scheme { // a dmsg stream proves the key by itself
		if err := c.sign(req, body); err != nil {
			return err
		}
	}
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer resp.Body.Close()
	limit := r.limit
	if limit == 0 {
		limit = maxReply
	}
	reply, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if int64(len(reply)) > limit {
		return fmt.Errorf("%w: an answer of more than %d bytes", ErrAnswer, limit)
	}
	switch {
	case resp.StatusCode == http.StatusNotModified && r.notModified != nil:
		*r.notModified = true
		return nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("%w: it has moved to %s; change the URL in the configuration", ErrAnswer, resp.Header.Get("Location"))
	case resp.StatusCode < 200 || resp.StatusCode >= 400:
		return parseError(resp.StatusCode, reply, resp.Header)
	}
	if r.tag != nil {
		*r.tag = resp.Header.Get("Etag")
	}
	if r.out == nil {
		return nil
	}
	if err := json.Unmarshal(reply, r.out); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}

// sign adds the headers of a signed request.
func (c *Caller) sign(req *http.Request, body []byte) error {
	skew := c.skewOf(req.URL.Host)
	var random [NonceLen]byte
	rand.Read(random[:])
	nonce := hex.EncodeToString(random[:])
	ms := c.now().Add(skew).UnixMilli()
	sig, err := cipher.SignDigest(c.sk, RequestDigest(req.Method, req.URL.Host, req.URL.RequestURI(), ms, nonce, body))
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	req.Header.Set(HeaderKey, c.pk.String())
	req.Header.Set(HeaderTime, strconv.FormatInt(ms, 10))
	req.Header.Set(HeaderNonce, nonce)
	req.Header.Set(HeaderSig, sig.String())
	return nil
}
