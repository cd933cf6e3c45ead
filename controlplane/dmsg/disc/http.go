package disc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Limits of the HTTP client.
const (
	// callTimeout bounds calls whose context has no deadline.
	callTimeout = 10 * time.Second
	// maxBody bounds answers, in bytes: 512 servers, or the keys of some 100,000
	// clients.
	maxBody = 8 << 20
	// MaxBatch is the most keys of one request for entries.
	MaxBatch = 256
)

// HTTPOptions are what an HTTPClient can be given. The zero value is fine.
type HTTPOptions struct {
	// Transport makes the requests: http.DefaultTransport where nil, or HTTP over
	// dmsg, whose addresses look like dmsg://<pk>:80.
	Transport http.RoundTripper
}

// An HTTPClient asks a discovery service. It may be used concurrently.
//
// Errors are a *Fault where the discovery refused, else ErrUnreachable (the
// context's error among the reasons), ErrAnswer, or ErrSignature where an entry
// was not written by whom it speaks for.
type HTTPClient struct {
	base  string // without the slash at the end
	http  http.Client
	cache cache
}

var _ Directory = (*HTTPClient)(nil)

// New returns a client of the discovery at rawURL, as in http://host:9090 or, with
// a Transport for it, dmsg://<pk>:80. It does not connect yet.
func New(rawURL string, o HTTPOptions) (*HTTPClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("disc: address of the discovery: %w", err)
	}
	if u.Scheme == "" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("disc: address of the discovery: %q does not look like http://host:9090", rawURL)
	}
	if o.Transport == nil && u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("disc: address of the discovery: %q: this program reaches discoveries at http:// and https:// only", rawURL)
	}
	return &HTTPClient{base: strings.TrimSuffix(rawURL, "/"), http: http.Client{Transport: o.Transport}}, nil
}

// URL returns the discovery's address.
func (c *HTTPClient) URL() string { return c.base }

// Close closes idle connections.
func (c *HTTPClient) Close() { c.http.CloseIdleConnections() }

// Entry implements Directory.
func (c *HTTPClient) Entry(ctx context.Context, pk cipher.PubKey) (*Entry, error) {
	a, err := c.call(ctx, http.MethodGet, "/dmsg-discovery/entry/"+pk.String(), nil)
	if err != nil {
		return nil, err
	}
	return answer(c, a, func(body []byte) (*Entry, error) { return admitFor(pk, body) })
}

// Entries looks many keys up at once; the map lacks those that are not found. A
// discovery that knows no batches is asked one by one.
func (c *HTTPClient) Entries(ctx context.Context, pks []cipher.PubKey) (map[cipher.PubKey]*Entry, error) {
	found := make(map[cipher.PubKey]*Entry, len(pks))
	for len(pks) > 0 {
		part := pks[:min(len(pks), MaxBatch)]
		pks = pks[len(part):]
		if err := c.batch(ctx, part, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// batch adds to found the entries of at most MaxBatch keys.
func (c *HTTPClient) batch(ctx context.Context, pks []cipher.PubKey, found map[cipher.PubKey]*Entry) error {
	body, err := json.Marshal(pks)
	if err != nil {
		return fmt.Errorf("disc: %w", err)
	}
	a, err := c.call(ctx, http.MethodPost, "/dmsg-discovery/entries/batch", body)
	var f *Fault
	if errors.As(err, &f) && (f.Status == http.StatusNotFound || f.Status == http.StatusMethodNotAllowed) {
		return c.oneByOne(ctx, pks, found)
	}
	if err != nil {
		return err
	}
	var reply map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &reply); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	for _, pk := range pks {
		raw, ok := reply[pk.String()]
		if !ok {
			continue
		}
		if found[pk], err = admitFor(pk, raw); err != nil {
			return err
		}
	}
	return nil
}

// oneByOne is batch for a discovery that knows none.
func (c *HTTPClient) oneByOne(ctx context.Context, pks []cipher.PubKey, found map[cipher.PubKey]*Entry) error {
	for _, pk := range pks {
		e, err := c.Entry(ctx, pk)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		found[pk] = e
	}
	return nil
}

// AvailableServers implements Directory.
func (c *HTTPClient) AvailableServers(ctx context.Context) ([]*Entry, error) {
	return c.servers(ctx, "/dmsg-discovery/available_servers")
}

// AllServers implements Directory.
func (c *HTTPClient) AllServers(ctx context.Context) ([]*Entry, error) {
	return c.servers(ctx, "/dmsg-discovery/all_servers")
}

func (c *HTTPClient) servers(ctx context.Context, path string) ([]*Entry, error) {
	a, err := c.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return answer(c, a, func(body []byte) ([]*Entry, error) {
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		servers := make([]*Entry, 0, len(list))
		for _, raw := range list {
			// One bad entry must not hide the good ones.
			if e, err := admit(raw); err == nil && e.Server != nil {
				servers = append(servers, e)
			}
		}
		if len(servers) == 0 {
			return nil, ErrNoServers
		}
		return servers, nil
	})
}

// Put implements Directory.
func (c *HTTPClient) Put(ctx context.Context, e *Entry) error {
	return c.send(ctx, http.MethodPost, "/dmsg-discovery/entry/", e)
}

// Delete implements Directory.
func (c *HTTPClient) Delete(ctx context.Context, e *Entry) error {
	return c.send(ctx, http.MethodDelete, "/dmsg-discovery/entry", e)
}

func (c *HTTPClient) send(ctx context.Context, method, path string, e *Entry) error {
	if e.Raw() == nil {
		return fmt.Errorf("disc: %s: the entry is not signed", method)
	}
	_, err := c.call(ctx, method, path, e.Raw())
	return err
}

// admit parses an entry that was given out and checks who wrote it. An entry of a
// server whose signature nobody can verify any more (see VerifyServed) loses its
// client part: whoever dials the server proves its key anyway.
func admit(raw []byte) (*Entry, error) {
	e, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if err := e.VerifyServed(); err != nil {
		if e.Server == nil || e.Static.IsZero() {
			return nil, fmt.Errorf("%w: entry of %s", err, e.Static)
		}
		e.Client = nil
	}
	return e, nil
}

// admitFor is admit for the entry of pk.
func admitFor(pk cipher.PubKey, raw []byte) (*Entry, error) {
	e, err := admit(raw)
	if err == nil && e.Static != pk {
		return nil, fmt.Errorf("%w: asked for %s, got %s", ErrAnswer, pk, e.Static)
	}
	return e, err
}

// A response is what came back with status 200, or was still right from before.
type response struct {
	path, etag string
	body       []byte
	parsed     any // of an earlier answer; nil for a new one
}

// call makes one request. body is borrowed.
func (c *HTTPClient) call(ctx context.Context, method, path string, body []byte) (response, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	rq, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return response{}, fmt.Errorf("disc: %w", err)
	}
	if body != nil {
		rq.Header.Set("Content-Type", "application/json")
	}
	var old cached
	if method == http.MethodGet {
		if old = c.cache.get(path); old.etag != "" {
			rq.Header.Set("If-None-Match", old.etag)
		}
	}
	rs, err := c.http.Do(rq)
	if err != nil {
		return response{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer rs.Body.Close()
	got, err := io.ReadAll(io.LimitReader(rs.Body, maxBody+1))
	switch {
	case err != nil:
		return response{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	case len(got) > maxBody:
		return response{}, fmt.Errorf("%w: more than %d bytes", ErrAnswer, maxBody)
	case rs.StatusCode == http.StatusNotModified && old.parsed != nil:
		return response{parsed: old.parsed}, nil
	case rs.StatusCode == http.StatusOK:
		return response{path: path, etag: rs.Header.Get("ETag"), body: got}, nil
	}
	var reply Reply
	if err := json.Unmarshal(got, &reply); err != nil || reply.Message == "" {
		reply.Message = fmt.Sprintf("%s answers with HTTP status %d; is it a dmsg discovery?", c.base, rs.StatusCode)
	}
	return response{}, faultFor(rs.StatusCode, reply.Message)
}

// answer returns what parse makes of a, or what it made of the same before.
func answer[T any](c *HTTPClient, a response, parse func([]byte) (T, error)) (T, error) {
	if a.parsed != nil {
		return a.parsed.(T), nil
	}
	v, err := parse(a.body)
	if err == nil && a.etag != "" {
		c.cache.put(a.path, cached{etag: a.etag, parsed: v})
	}
	return v, err
}

// A Reply is what a discovery says about a write, and about any refusal.
type Reply struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}
